"""A batch through the router: what is written down, what is published, and when a record is done."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image
from structlog.testing import capture_logs

import workers.router.pipeline
import workers.router.routing
from producers.catalog import Catalog
from producers.memory import MemoryLog
from producers.routes import Routes
from runtime.apart import Apart
from runtime.budget import MemoryBudget
from runtime.reading import INLINE_BYTES, InputReader
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable, TopicMissing
from schemas.jobs import Job, Status, Terminal
from schemas.records import OutRecord, read_lane_record, read_terminal_record
from stores.memory import MemoryJobs
from stores.memory_blobs import MemoryBlobs
from stores.protocols import JobKey
from tests.unit.router.requests import CATALOG, INSTANCES, NOW, TOPICS, record
from tests.waiting import eventually
from workers.consuming.protocols import Record
from workers.memory import MemoryConsumer, MemoryGroup
from workers.router.large_inputs import LargeInputs
from workers.router.pipeline import Pipeline
from workers.router.placing import Placing
from workers.router.routing import begin
from workers.router.settings import RouterSettings

LANE = "penstock.lane.vector.1.live.v1"
GOOD = record(INSTANCES, ("model", "vector"), ("ce_id", "good"))
UNKNOWN = record(INSTANCES, ("model", "nosuch"), ("ce_id", "unknown"))
NO_MODEL = record(INSTANCES, ("x", "y"))


@dataclass
class Room:
    """A router over twins, one member of its group."""

    log: MemoryLog
    group: MemoryGroup
    member: MemoryConsumer
    jobs: MemoryJobs
    pipeline: Pipeline
    budget: MemoryBudget
    routes: Routes

    async def fetch(self, *asked: Record) -> Sequence[Record]:
        """Write the records and fetch them as one batch."""
        for each in asked:
            await self.log.publish(OutRecord(TOPICS.requests, each.key, each.value, list(each.headers), 0))
        records = await self.member.fetch(100, timeout_s=1)
        assert len(records) == len(asked)
        return records

    async def work(self, *asked: Record) -> None:
        await self.pipeline.work(await self.fetch(*asked))

    def ids(self, topic: str) -> list[str]:
        return [dict(out.headers)["ce_id"].decode() for out in self.log.records(topic)]

    async def stored(self, job_id: str) -> Job | None:
        return await self.jobs.get(JobKey("default", job_id))


@asynccontextmanager
async def opened_room(
    lane_patience_s: float = 10, reading_patience_s: float = 60, *, blobs: MemoryBlobs | None = None, **given: Any
) -> AsyncIterator[Room]:
    settings = RouterSettings(**given)
    log = MemoryLog(partitions=1)
    group = MemoryGroup(log, [TOPICS.requests], clock_ms=lambda: int(NOW.timestamp() * 1000))
    jobs, routes = MemoryJobs(), Routes()
    async with group.member() as member:
        placing = Placing(TOPICS, lane_patience_s)
        budget = MemoryBudget(512 * 1024 * 1024)
        reader = InputReader(budget)
        pipeline = Pipeline(
            member,
            log,
            jobs,
            Catalog(CATALOG),
            routes,
            TOPICS,
            settings.limits,
            lambda: NOW,
            placing,
            reader,
            LargeInputs(settings, blobs, budget),
            reading_patience_s=reading_patience_s,
        )
        yield Room(log, group, member, jobs, pipeline, budget, routes)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with opened_room() as opened:
        yield opened


async def test_every_record_of_a_batch_goes_where_it_belongs(room: Room) -> None:
    await room.work(GOOD, UNKNOWN, NO_MODEL)

    assert room.ids(LANE) == ["good"]
    assert room.ids(TOPICS.results) == ["unknown"]
    (letter,) = room.log.records("dlq.penstock.requests.v1")
    assert dict(letter.headers)["__dlq.errors.message"].startswith(b"there is no model name")
    assert room.member.open_count == 0


async def test_an_accepted_job_is_written_down_as_queued_and_a_refused_one_is_not(room: Room) -> None:
    await room.work(GOOD, UNKNOWN)
    good = await room.stored("good")
    assert good is not None
    assert good.status is Status.QUEUED
    assert await room.stored("unknown") is None


async def test_a_job_is_written_down_before_its_record_is_in_the_lane(room: Room) -> None:
    room.jobs.down = True
    working = asyncio.create_task(room.work(GOOD, UNKNOWN))
    await eventually(lambda: room.member.open_count == 2)
    with pytest.raises(AssertionError, match="not within"):
        await eventually(lambda: room.ids(LANE) or room.ids(TOPICS.results), timeout_s=0.1)
    assert room.member.open_count == 2

    room.jobs.down = False
    await working
    assert room.ids(LANE) == ["good"]
    assert room.member.open_count == 0


@pytest.mark.parametrize("error", [QueueUnavailable("away"), OutcomeUnknown("perhaps"), TopicMissing("not yet")])
async def test_a_record_is_not_done_before_its_replacement_is_acknowledged(room: Room, error: QueueUnavailable) -> None:
    records = await room.fetch(UNKNOWN, GOOD)
    room.log.fail_next = [None, error, error]
    working = asyncio.create_task(room.pipeline.work(records))
    await eventually(lambda: room.member.open_count == 1)
    assert (room.ids(TOPICS.results), room.ids(LANE)) == (["unknown"], [])

    await working
    assert room.ids(LANE) == ["good"]
    assert room.member.open_count == 0


async def ended_by(room: Room, error: PenstockError) -> Terminal:
    """The end of a job whose lane record met `error`."""
    records = await room.fetch(GOOD)
    room.log.fail_next = [error]
    await room.pipeline.work(records)
    assert room.ids(LANE) == []
    (out,) = room.log.records(TOPICS.results)
    return read_terminal_record(tuple(out.headers), out.value)


async def test_a_lane_that_never_comes_ends_its_job() -> None:
    async with opened_room(lane_patience_s=0) as room:
        ended = await ended_by(room, TopicMissing("topic lane does not exist"))
    assert ended.error is not None
    assert (ended.id, ended.status) == ("good", Status.FAILED)
    assert (ended.error.code, ended.error.message) == ("topic_missing", "topic lane does not exist")


async def test_a_job_too_large_for_its_lane_ends_as_failed(room: Room) -> None:
    ended = await ended_by(room, PayloadTooLarge("the record has 9 bytes"))
    assert ended.error is not None
    assert (ended.id, ended.error.code) == ("good", "payload_too_large")


async def test_a_dead_letter_that_is_too_large_goes_without_its_payload(room: Room) -> None:
    records = await room.fetch(NO_MODEL)
    room.log.fail_next = [PayloadTooLarge("the record has 9 bytes")]
    await room.pipeline.work(records)

    (letter,) = room.log.records("dlq.penstock.requests.v1")
    assert letter.value is None
    assert dict(letter.headers)["__dlq.errors.offset"] == b"0"
    assert room.member.open_count == 0


async def test_a_record_that_was_lost_meanwhile_is_left_to_its_new_owner(room: Room) -> None:
    room.jobs.down = True
    working = asyncio.create_task(room.work(GOOD))
    await eventually(lambda: room.member.open_count == 1)

    room.member.lose_all()
    room.jobs.down = False
    await working

    assert await room.stored("good") is None
    assert room.log.records(LANE) == [], "a job that nobody wrote down has no place in a lane"
    assert room.group.committed == {}


async def test_a_record_that_the_router_fails_over_is_a_dead_letter_and_the_others_go_on(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(asked: Record, *rest: Any) -> Any:
        if asked.headers == NO_MODEL.headers:
            raise ZeroDivisionError
        return begin(asked, *rest)

    monkeypatch.setattr(workers.router.pipeline, "begin", faulty)
    await room.work(NO_MODEL, GOOD)

    (letter,) = room.log.records("dlq.penstock.requests.v1")
    assert b"ZeroDivisionError" in dict(letter.headers)["__dlq.errors.message"]
    assert room.ids(LANE) == ["good"]


def bomb(side: int) -> bytes:
    """A small file of many pixels."""
    file = io.BytesIO()
    Image.new("LA", (side, side)).save(file, "PNG")
    return file.getvalue()


def structured(image: bytes) -> Record:
    event = {
        "specversion": "1.0",
        "id": "picture",
        "source": "/penstock/test",
        "type": "t",
        "model": "digits",
        "datacontenttype": "image/png",
        "data_base64": base64.b64encode(image).decode(),
    }
    return record(event, ("content-type", "application/cloudevents+json"))


@pytest.mark.parametrize("form", ["bare", "structured"])
async def test_an_image_of_many_pixels_is_unpacked_in_a_process_of_its_own(
    room: Room, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    calls: list[object] = []

    def noted(apart: Apart, read: Callable[..., Any], *given: Any) -> Any:
        calls.append(read)
        return call(apart, read, *given)

    call = Apart.call
    monkeypatch.setattr(Apart, "call", noted)
    image = bomb(1000)
    assert len(image) < INLINE_BYTES
    bare = record(image, ("model", "digits"), ("ce_id", "picture"), ("content-type", "image/png"))
    await room.work(bare if form == "bare" else structured(image))
    assert room.ids("penstock.lane.digits.2.live.v1") == ["picture"]
    assert len(calls) == 1


async def test_a_record_waits_until_there_is_room_for_what_reading_it_takes(room: Room) -> None:
    image = record(bomb(1000), ("model", "digits"), ("ce_id", "picture"), ("content-type", "image/png"))
    with room.budget.hold("others") as others:
        others.grow(room.budget.limit_bytes - 1)
        working = asyncio.create_task(room.work(image))
        await eventually(lambda: room.member.open_count == 1)
        with pytest.raises(AssertionError, match="not within"):
            await eventually(lambda: room.member.open_count == 0, timeout_s=0.3)
    await working
    assert room.ids("penstock.lane.digits.2.live.v1") == ["picture"]


async def test_a_record_that_there_is_never_room_for_holds_nobody_up_for_ever() -> None:
    image = record(bomb(1000), ("model", "digits"), ("ce_id", "picture"), ("content-type", "image/png"))
    async with opened_room(reading_patience_s=0) as room:
        with room.budget.hold("others") as others:
            others.grow(room.budget.limit_bytes - 1)
            await room.work(image, GOOD)
        assert room.ids(LANE) == ["good"]
        (out,) = room.log.records(TOPICS.results)
        end = read_terminal_record(tuple(out.headers), out.value)
    assert end.error is not None
    assert (end.id, end.error.code) == ("picture", "unavailable")


async def test_a_clock_that_is_ahead_of_ours_is_told_now_and_then(room: Room) -> None:
    room.group.clock_ms = lambda: int(NOW.timestamp() * 1000) + 60_000
    with capture_logs() as lines:
        await room.work(GOOD, UNKNOWN)
        await room.work(GOOD)
    assert [line["event"] for line in lines].count("a producer's clock is ahead of ours") == 1


async def test_a_large_payload_is_read_beside_the_loop(room: Room) -> None:
    large = record({"instances": [[1.5, 2.5]] * 20_000}, ("model", "vector"), ("ce_id", "large"))
    assert large.value is not None
    assert len(large.value) > INLINE_BYTES
    await room.work(large, GOOD)

    assert room.ids(LANE) == ["large", "good"]
    out = room.log.records(LANE)[0]
    assert read_lane_record(tuple(out.headers), out.value).id == "large"
