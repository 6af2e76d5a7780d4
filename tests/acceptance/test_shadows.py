"""A shadow on the whole stack: callers see nothing of it, and operators see where it answers otherwise."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.acceptance import digits
from tests.waiting import eventually

ROUTE = "/v1/routes/digits"
ANSWERING, SHADOW = "1", "2"


@pytest.fixture
async def shadowed(http: httpx.AsyncClient) -> AsyncIterator[None]:
    """Version 1 has all the traffic, and version 2 a copy of all of it."""
    route = {"versions": {ANSWERING: 10_000}, "shadow": [{"version": SHADOW, "rate": 1.0, "device_share": 1.0}]}
    answer = await http.put(ROUTE, json=route, headers={"prefer": "wait=20", "if-match": "*"})
    if answer.status_code == 412:
        answer = await http.put(ROUTE, json=route, headers={"prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    yield
    await http.delete(ROUTE)


async def answered(http: httpx.AsyncClient, image: int) -> dict[str, Any]:
    """The document of a job that has ended."""
    body = {"model": "digits", "input": digits.request(digits.images(1, image))}
    answer = await http.post("/v1/jobs", json=body, headers={"prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


def shown(job: dict[str, Any]) -> dict[str, Any]:
    """What of a document does not differ from job to job."""
    own = {"id", "created_at", "started_at", "completed_at", "expires_at", "urls", "route_revision", "variant"}
    result = {**job["result"], "id": ""}
    return {name: value for name, value in job.items() if name not in own} | {"result": result}


async def test_a_shadow_is_for_operators_alone(http: httpx.AsyncClient, shadowed: None) -> None:
    # Given an image on which both versions agree, and one on which they do not
    images = digits.images(300)
    first, other = digits.labels(images, ANSWERING), digits.labels(images, SHADOW)
    alike = next(at for at in range(len(images)) if first[at] == other[at])
    apart = next(at for at in range(len(images)) if first[at] != other[at])
    sent: dict[str, int] = {}

    async def compared() -> dict[str, Any] | None:
        for image in (alike, apart):
            job = await answered(http, image)
            sent[job["id"]] = image
            assert (job["status"], job["model_version"], job.get("moved_from")) == ("succeeded", ANSWERING, None)
        found: dict[str, Any] = (await http.get("/v1/models/digits/shadow")).json()
        sums = [pair for pair in found["pairs"] if (pair["version"], pair["shadow_of"]) == (SHADOW, ANSWERING)]
        return found if sums and sums[0]["agreed"] and sums[0]["disagreed"] and found["data"] else None

    # When jobs are sent until the worker has looked at the shadow's lane, and copies have run
    found = await eventually(compared, 60, "copies are compared")
    assert found is not None

    # Then those on which they do not agree are listed, with both labels
    assert {sent[each["job_id"]] for each in found["data"] if each["job_id"] in sent} == {apart}
    told = found["data"][0]
    assert (told["why"], told["answered"], told["shadowed"]) == ("label", str(first[apart]), str(other[apart]))

    # And a job's document is what it is without a shadow, also once its copy has run
    job_id = told["job_id"]
    with_shadow = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert (await http.delete(ROUTE)).status_code == 200
    answer = await http.post(
        "/v1/jobs",
        json={"model": "digits", "version": ANSWERING, "input": digits.request(digits.images(1, apart))},
        headers={"prefer": "wait=30"},
    )
    assert shown(with_shadow) == shown(answer.json())
