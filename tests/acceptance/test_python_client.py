"""`penstock.client` on the running stack, in threads and in asyncio."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penstock.client import AsyncClient, Client, Options
from penstock.stack import Stack
from schemas.errors import InvalidInput, JobError, ModelNotFound, RequestError
from schemas.jobs import Status
from tests.acceptance import digits
from tests.waiting import eventually

EDGES = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.gateway_url) as client:
        yield client


@pytest.fixture
async def async_client(stack: Stack) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(stack.gateway_url) as client:
        yield client


def test_rows_features_arrays_and_images_are_run(client: Client) -> None:
    assert client.run("volume", EDGES.tolist()).predictions == [6, 120]
    assert client.run("volume", {"features": [{"length": 2, "width": 2, "height": 2}]}).predictions == [8]
    assert client.run("volume", EDGES)["volume"].tolist() == [6, 120]
    named = client.run("volume", {"edges": EDGES}, version="1")
    assert named["volume"].dtype == np.float32
    assert named.version == "1"
    image = Image.open(min(digits.IMAGES.glob("*.png")))
    (found,) = client.run("digits", image).predictions or []
    assert found["label"] == image_digit()
    assert client.run("digits", min(digits.IMAGES.glob("*.png")).read_bytes()).predictions == [found]


def image_digit() -> str:
    return min(digits.IMAGES.glob("*.png")).stem


def test_a_job_is_submitted_read_awaited_and_canceled(client: Client) -> None:
    job = client.submit("volume", EDGES, options=Options(lane="bulk", metadata={"order": "17"}, timeout_s=60))
    assert (job.model, job.metadata) == ("volume", {"order": "17"})
    assert client.result(job)["volume"].tolist() == [6, 120]
    assert client.wait(job.id).status is Status.SUCCEEDED
    assert client.cancel(job).status is Status.SUCCEEDED
    assert [event.job.status for event in client.events(job)][-1] is Status.SUCCEEDED
    assert client.feedback(job, reward=0.5)


def test_rows_may_fail_by_themselves(client: Client) -> None:
    found = client.run("squares", [1, 99, 3], options=Options(row_errors=True))
    assert found.predictions == [1, None, 9]
    assert found.row_errors.keys() == {1}
    raw = client.run("squares", np.array([1, 99, 3]), options=Options(row_errors=True))
    assert raw["square"].tolist() == [1, 9]
    assert raw.row_errors.keys() == {1}


def test_errors_have_their_own_classes(client: Client) -> None:
    with pytest.raises(ModelNotFound, match="nothing"):
        client.run("nothing", [1])
    with pytest.raises(InvalidInput, match=r"shape"):
        client.run("volume", [[1.0]])
    with pytest.raises(JobError):
        client.run("squares", [99])
    with pytest.raises(RequestError, match="timeout_s") as refused:
        client.submit("volume", EDGES, options=Options(timeout_s=0))
    assert refused.value.param == "timeout_s"
    with pytest.raises(InvalidInput, match="ticket, turns"):
        client.run("tickets", np.array([1]))


def test_many_inputs_are_mapped_in_their_order(client: Client) -> None:
    mapped = list(client.map("squares", ([number] for number in [*range(9), 99, 5]), in_flight=4))
    assert [each.index for each in mapped] == list(range(11))
    results = [each.result.predictions for each in mapped if each.result]
    assert results == [[number**2] for number in [*range(9), 5]]
    assert isinstance(mapped[9].error, JobError)


def test_models_and_routes_are_read_and_written(client: Client) -> None:
    assert "grown" in {model["id"] for model in client.models()}
    route = client.routes.put("grown", {"versions": {"1": 10_000}})
    try:
        assert client.routes.get("grown")["revision"] == route["revision"]
        assert client.run("grown", [5]).version == "1"
    finally:
        client.routes.delete("grown", revision=route["revision"])


def test_a_batch_is_created_awaited_and_read(client: Client, tmp_path: Path) -> None:
    url = "/v1/models/volume/jobs"
    lines = [
        json.dumps({"custom_id": f"a-{number}", "method": "POST", "url": url, "body": {"instances": [[number, 1, 1]]}})
        for number in range(50)
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(lines) + "\n")
    batch = client.batches.wait(client.batches.create(path, endpoint=url, priority=3)["id"])
    assert (batch["status"], batch["priority"], batch["request_counts"]["completed"]) == ("completed", 3, 50)
    found = {line["custom_id"]: line["response"]["body"]["predictions"] for line in client.batches.results(batch["id"])}
    assert found == {f"a-{number}": [number] for number in range(50)}
    assert client.batches.cancel(batch["id"])["status"] == "completed"


async def test_the_same_in_asyncio(async_client: AsyncClient) -> None:
    assert (await async_client.run("volume", EDGES))["volume"].tolist() == [6, 120]
    job = await async_client.submit("volume", EDGES)
    assert (await async_client.result(job))["volume"].tolist() == [6, 120]
    assert [event.job.done async for event in async_client.events(job)][-1]
    assert (await async_client.cancel(job)).done
    mapped = [each async for each in async_client.map("squares", ([number] for number in range(10)), in_flight=4)]
    assert [each.result.predictions for each in mapped if each.result] == [[number**2] for number in range(10)]
    assert "volume" in {model["id"] for model in await async_client.models()}
    assert await async_client.feedback(job, reward=1.0)
    line = {"custom_id": "a", "method": "POST", "url": "/v1/models/volume/jobs", "body": {"instances": [[1, 2, 3]]}}
    created = await async_client.batches.create(json.dumps(line).encode(), endpoint="/v1/models/volume/jobs")
    assert (await async_client.batches.wait(created["id"]))["status"] == "completed"
    assert [each["custom_id"] async for each in async_client.batches.results(created["id"])] == ["a"]


async def test_a_job_that_waits_is_told_of_and_canceled(async_client: AsyncClient, parked: str) -> None:
    job = await async_client.submit(parked, ["water"])
    events = async_client.events(job)
    assert (await anext(events)).job.status is Status.QUEUED
    await async_client.cancel(job)
    assert (await anext(events)).job.status is Status.CANCELED
    await events.aclose()  # type: ignore[attr-defined]
    with pytest.raises(JobError, match="canceled"):
        await async_client.result(job)

    async def is_told() -> bool:
        return (await async_client.job(job.id)).done

    await eventually(is_told)
