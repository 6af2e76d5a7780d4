"""One bad job or record hurts only itself: neither its micro-batch, nor the records behind it, nor the process."""

import asyncio
import uuid
from collections.abc import Iterator

import httpx
import pytest

from penstock.stack import Stack
from schemas.topics import Lane, LaneClass, Topics
from tests.acceptance import digits, jobs, kafka
from tests.waiting import eventually

DIGITS_LANE = Lane("digits", "2", LaneClass.LIVE)


@pytest.fixture(autouse=True)
def _the_same_processes_afterwards(stack: Stack) -> Iterator[None]:
    before = {name: role.pid for name, role in stack.roles.items()}
    yield
    assert {name: role.pid for name, role in stack.roles.items()} == before


async def test_a_job_that_the_model_fails_on_fails_alone(http: httpx.AsyncClient) -> None:
    # Given jobs that run together, two of which the model cannot stand
    places = [number % 10 for number in range(16)]
    places[5], places[11] = 99, -99
    answers = await asyncio.gather(
        *(http.post("/v1/models/squares/jobs", json={"instances": [place]}) for place in places)
    )
    ended = [await jobs.ended(http, jobs.accepted(answer)["id"]) for answer in answers]
    # Then only these fail, and their errors tell nothing of the inside
    for place, job in zip(places, ended, strict=True):
        if abs(place) == 99:
            assert (job["status"], job["result"]) == ("failed", None)
            assert job["error"]["code"] == "inference_failed"
            assert "Gather" not in job["error"]["message"]
            result = await http.get(f"/v1/jobs/{job['id']}/result")
            assert jobs.problem(result, 500)["code"] == "inference_failed"
        else:
            assert job["status"] == "succeeded"
            assert job["result"] == {"predictions": [place**2]}


@pytest.mark.parametrize("dataset", ["lane", "results"])
async def test_garbage_in_a_topic_is_buried_and_holds_nobody_up(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, dataset: str
) -> None:
    topic = {"lane": topics.lane(DIGITS_LANE), "results": topics.results}[dataset]
    mark = uuid.uuid4().hex
    # Given garbage in every partition
    for value in (b"", b"\xff\x00", b"{}", b'{"status": "succeeded"}') * 4:
        kafka.send(stack.kafka_bootstrap_servers, topic, value, {"mark": mark, "ce_id": "\0"})
    # Then jobs get through
    rows = digits.images(1)
    for _ in range(8):
        job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(rows)))
        assert jobs.output(await jobs.succeeded(http, job["id"]), "label")["data"] == digits.labels(rows)
    # And the garbage stands where somebody may look at it
    with kafka.TopicReader(stack.kafka_bootstrap_servers, topics.dead_letter(topic)) as reader:

        async def buried() -> bool:
            heard = await asyncio.to_thread(reader.read_to_end)
            return len([record for record in heard if record.headers.get("mark") == mark.encode()]) == 16

        await eventually(buried, 30, "all of it is in the dead-letter topic")


async def test_garbage_in_the_catalog_changes_nothing(http: httpx.AsyncClient, stack: Stack, topics: Topics) -> None:
    before = (await http.get("/v1/models")).json()
    for key, value in ((b"digits/3", b"{}"), (b"\xff", b"\xff"), (b"x/1", b"null"), (b"../x", None)):
        kafka.send(stack.kafka_bootstrap_servers, topics.catalog, value, key=key)
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(digits.images(1))))
    await jobs.succeeded(http, job["id"])
    assert (await http.get("/v1/models")).json() == before
