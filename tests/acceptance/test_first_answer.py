"""Post a digit, poll the answer: the road that everything else stands on."""

from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import digits, jobs
from tests.acceptance.repository import MANY_TURNS
from tests.waiting import eventually


async def test_a_posted_image_becomes_an_answer_that_can_be_polled(http: httpx.AsyncClient, stack: Stack) -> None:
    # Given a picture of a seven
    picture = (digits.IMAGES / "7.png").read_bytes()
    # When it is posted
    answer = await http.post("/v1/models/digits/jobs", content=picture, headers={"content-type": "image/png"})
    # Then the answer says where to look, and when
    job = jobs.accepted(answer)
    assert answer.headers["location"] == f"{stack.gateway_url}/v1/jobs/{job['id']}"
    assert answer.headers["operation-location"] == answer.headers["location"]
    assert int(answer.headers["retry-after"]) >= 1
    # And the job ends with the seven
    ended = await jobs.succeeded(http, job["id"])
    (prediction,) = ended["result"]["predictions"]
    assert prediction["label"] == "7"
    assert sum(prediction["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)


async def test_a_job_tells_its_whole_story(http: httpx.AsyncClient, stack: Stack) -> None:
    rows = digits.images(3)
    envelope = {"model": "digits", "input": digits.request(rows), "metadata": {"shelf": ["a", 1]}, "timeout_s": 60}
    job = jobs.accepted(await http.post("/v1/jobs", json=envelope))
    assert (job["status"], job["done"], job["result"], job["error"]) == ("queued", False, None, None)
    ended = await jobs.succeeded(http, job["id"])
    assert ended["done"]
    assert (ended["model"], ended["model_version"]) == ("digits", digits.DEFAULT_VERSION)
    assert ended["metadata"] == {"shelf": ["a", 1]}
    assert ended["urls"] == {
        "get": f"{stack.gateway_url}/v1/jobs/{job['id']}",
        "cancel": f"{stack.gateway_url}/v1/jobs/{job['id']}/cancel",
        "result": f"{stack.gateway_url}/v1/jobs/{job['id']}/result",
        "events": f"{stack.gateway_url}/v1/jobs/{job['id']}/events",
    }
    created, started, completed, expires = (
        datetime.fromisoformat(ended[name]) for name in ("created_at", "started_at", "completed_at", "expires_at")
    )
    assert created <= started <= completed <= expires
    assert (expires - created).total_seconds() == 60
    result = ended["result"]
    assert (result["model_name"], result["model_version"], result["id"]) == ("digits", "2", job["id"])
    assert jobs.output(ended, "label") == {
        "name": "label",
        "datatype": "INT64",
        "shape": [3],
        "data": digits.labels(rows),
    }
    assert jobs.output(ended, "probabilities")["shape"] == [3, 10]


async def test_a_version_that_is_asked_for_is_the_one_that_answers(http: httpx.AsyncClient) -> None:
    rows = digits.images(64)
    pinned = {"model": "digits", "version": "1", "input": digits.request(rows)}
    by_envelope = jobs.accepted(await http.post("/v1/jobs", json=pinned))
    by_path = jobs.accepted(await http.post("/v1/models/digits/versions/1/jobs", json=digits.request(rows)))
    for job in (by_envelope, by_path):
        ended = await jobs.succeeded(http, job["id"])
        assert ended["model_version"] == "1"
        assert jobs.output(ended, "label")["data"] == digits.labels(rows, "1")


async def test_bulk_jobs_take_the_other_lane_to_the_same_answer(http: httpx.AsyncClient) -> None:
    rows = digits.images(5)
    answer = await http.post("/v1/models/digits/jobs", params={"lane": "bulk"}, json=digits.request(rows))
    ended = await jobs.succeeded(http, jobs.accepted(answer)["id"])
    assert jobs.output(ended, "label")["data"] == digits.labels(rows)


async def test_a_job_with_more_rows_than_the_model_takes_at_once_is_answered_whole(http: httpx.AsyncClient) -> None:
    rows = digits.images(200)
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(rows)))
    ended = await jobs.succeeded(http, job["id"])
    assert jobs.output(ended, "label")["data"] == digits.labels(rows)


async def test_many_jobs_at_once_each_get_their_own_answer(http: httpx.AsyncClient) -> None:
    rows = digits.images(120)
    answers = [
        await http.post("/v1/models/digits/jobs", json=digits.request(rows[[number]])) for number in range(len(rows))
    ]
    ended = [await jobs.succeeded(http, jobs.accepted(answer)["id"]) for answer in answers]
    assert [jobs.output(job, "label")["data"] for job in ended] == [[label] for label in digits.labels(rows)]


async def test_only_the_outputs_that_are_asked_for_come_back(http: httpx.AsyncClient) -> None:
    wanted = digits.request(digits.images(1)) | {"outputs": [{"name": "label"}]}
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=wanted))
    ended = await jobs.succeeded(http, job["id"])
    assert [tensor["name"] for tensor in ended["result"]["outputs"]] == ["label"]


async def test_the_result_alone_is_there_once_the_job_is_done(http: httpx.AsyncClient, parked: str) -> None:
    waiting = jobs.accepted(await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["here"]}))
    early = await http.get(f"/v1/jobs/{waiting['id']}/result")
    assert jobs.problem(early, 409)["code"] == "result_not_ready"
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(digits.images(1))))
    ended = await jobs.succeeded(http, job["id"])
    alone = await http.get(f"/v1/jobs/{job['id']}/result")
    assert alone.status_code == 200
    assert alone.json() == ended["result"]


async def test_events_tell_how_a_job_goes_on_until_it_has_ended(http: httpx.AsyncClient, parked: str) -> None:
    job = jobs.accepted(await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["x"]}))
    async with http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        told = statuses(stream)
        assert await anext(told) == "queued"
        await http.post(f"/v1/jobs/{job['id']}/cancel")
        assert [status async for status in told] == ["canceled"]


async def statuses(stream: httpx.Response) -> AsyncIterator[str]:
    async for line in stream.aiter_lines():
        if line.startswith("id: "):
            yield line.removeprefix("id: ")


async def test_a_job_that_takes_long_is_seen_running(http: httpx.AsyncClient) -> None:
    job = jobs.accepted(
        await http.post("/v1/models/tickets/jobs", json={"instances": [{"ticket": 1, "turns": MANY_TURNS}]})
    )

    async def running() -> bool:
        return bool((await jobs.read(http, job["id"]))["status"] == "running")

    await eventually(running)
    ended = await jobs.succeeded(http, job["id"])
    assert ended["result"] == {"predictions": [1]}
