"""A batch of the feedback topic: what is kept, what is buried, and what waits for its job to end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

import workers.sink.feedback
from producers.memory import MemoryLog
from schemas.errors import InvalidInput, PenstockError, StoreUnavailable
from schemas.feedback import Feedback, FeedbackRequest, Told
from schemas.records import OutRecord
from schemas.topics import Topics
from stores.feedback import OutcomeSums
from stores.memory import MemoryJobs
from stores.memory_feedback import MemoryFeedback
from tests.unit.sink.ends import NOW, TOPICS, succeeded
from tests.unit.sink.feedback_records import feedback_record
from tests.waiting import eventually
from workers.consuming.protocols import Record
from workers.memory import MemoryConsumer, MemoryGroup
from workers.sink.feedback import PATIENCE_S, FeedbackPipeline

DEAD_LETTERS = Topics.dead_letter(TOPICS.feedback)


@dataclass
class Well:
    """The feedback's half of a sink over twins."""

    log: MemoryLog
    member: MemoryConsumer
    jobs: MemoryJobs
    store: MemoryFeedback
    pipeline: FeedbackPipeline
    now: datetime

    async def work(self, *records: OutRecord, written_at: datetime = NOW) -> None:
        await self.log.publish_all([record._replace(partition=0) for record in records])
        fetched = await self.member.fetch(100, timeout_s=1)
        await self.pipeline.work([_written(record, written_at) for record in fetched])

    async def kept(self) -> OutcomeSums | None:
        day = timedelta(days=1)
        found = await self.store.summed("digits", ["2"], "live", NOW - day, NOW + day, 0.5)
        return found[0] if found else None


def _written(record: Record, at: datetime) -> Record:
    return record._replace(timestamp_ms=int(at.timestamp() * 1000))


@asynccontextmanager
async def well() -> AsyncIterator[Well]:
    log = MemoryLog(partitions=2)
    jobs = MemoryJobs(lambda: NOW)
    store = MemoryFeedback(jobs)
    async with MemoryGroup(log, [TOPICS.feedback]).member() as member:
        opened = Well(log, member, jobs, store, None, NOW)  # type: ignore[arg-type]
        opened.pipeline = FeedbackPipeline(member, log, store, TOPICS.feedback_group, lambda: opened.now)
        yield opened


@pytest.fixture
async def sink(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Well]:
    monkeypatch.setattr(workers.sink.feedback, "AGAIN_S", 0.0)
    async with well() as opened:
        await opened.jobs.finish([succeeded("job_1"), succeeded("job_2")])
        yield opened


def told(job_id: str, reward: float = 1.0) -> OutRecord:
    return feedback_record(TOPICS.feedback, job_id, FeedbackRequest(reward=reward), NOW, "/test")


async def test_feedback_is_kept_and_its_records_done(sink: Well) -> None:
    await sink.work(told("job_1"), told("job_2", 0.0))
    found = await sink.kept()
    assert found is not None
    assert (found.jobs, found.bad) == (2, 1)
    assert sink.member.open_count == 0


async def test_a_record_that_comes_again_counts_once(sink: Well) -> None:
    await sink.work(told("job_1"), told("job_1"))
    await sink.work(told("job_1"))
    found = await sink.kept()
    assert found is not None
    assert found.jobs == 1


async def test_what_is_no_feedback_is_buried_and_the_others_are_kept(sink: Well) -> None:
    bad = [OutRecord(TOPICS.feedback, b"k", value, []) for value in (b"hello", b'{"reward":7}', b'{"reward":1}', None)]
    await sink.work(*bad, told("job_1"))
    assert len(sink.log.records(DEAD_LETTERS)) == 4
    assert await sink.kept() is not None
    assert sink.member.open_count == 0


async def test_feedback_waits_for_its_job_to_end(sink: Well) -> None:
    working = asyncio.create_task(sink.work(told("job_3"), told("job_1")))
    await eventually(lambda: sink.member.open_count == 1)
    assert await sink.kept() is not None
    await sink.jobs.finish([succeeded("job_3")])
    await working
    assert sink.member.open_count == 0
    assert sink.log.records(DEAD_LETTERS) == []


async def test_a_job_that_does_not_come_is_none_after_a_while(sink: Well) -> None:
    working = asyncio.create_task(sink.work(told("job_3")))
    await eventually(lambda: sink.member.open_count == 1)
    sink.now += timedelta(seconds=PATIENCE_S)
    await working
    (letter,) = sink.log.records(DEAD_LETTERS)
    assert b"there is no job job_3" in dict(letter.headers)["__dlq.errors.message"]
    assert sink.member.open_count == 0


async def test_an_old_record_of_no_job_is_buried_at_once_and_one_from_the_future_waits_no_longer(sink: Well) -> None:
    sink.now += timedelta(seconds=PATIENCE_S)
    await sink.work(told("job_3"), written_at=NOW)
    assert len(sink.log.records(DEAD_LETTERS)) == 1
    working = asyncio.create_task(sink.work(told("job_4"), written_at=NOW + timedelta(days=9)))
    await eventually(lambda: sink.member.open_count == 1)
    sink.now += timedelta(seconds=PATIENCE_S)
    await working
    assert len(sink.log.records(DEAD_LETTERS)) == 2


async def test_an_absent_store_is_waited_for(sink: Well, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.sink.feedback, "delays_s", lambda: iter([0.0] * 1000))
    sink.store.down = True
    working = asyncio.create_task(sink.work(told("job_1")))
    await eventually(lambda: sink.member.open_count == 1)
    sink.store.down = False
    await working
    assert await sink.kept() is not None


@pytest.mark.parametrize("away", ["the sink", "its store"])
async def test_what_was_told_while_ends_could_not_be_written_waits_for_them(
    sink: Well, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    monkeypatch.setattr(workers.sink.feedback, "delays_s", lambda: iter([0.0] * 1000))
    if away == "its store":
        sink.now += timedelta(hours=1)
        sink.store.down = True
    working = asyncio.create_task(sink.work(told("job_3"), told("job_1"), written_at=NOW - timedelta(hours=1)))
    await eventually(lambda: sink.member.open_count > 0)
    sink.store.down = False
    await eventually(lambda: sink.member.open_count == 1)
    assert sink.log.records(DEAD_LETTERS) == []
    await sink.jobs.finish([succeeded("job_3")])
    await working
    assert sink.log.records(DEAD_LETTERS) == []
    found = await sink.kept()
    assert found is not None
    assert found.jobs == 2


async def test_answers_stay_with_their_records_where_some_are_lost_meanwhile(
    sink: Well, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.sink.feedback, "delays_s", lambda: iter([0.0] * 1000))
    await sink.log.publish_all([told("job_1")._replace(partition=0), told("job_2")._replace(partition=1)])
    records = [_written(record, NOW) for _ in range(2) for record in await sink.member.fetch(100, timeout_s=1)]
    lost, owned = sorted(records, key=lambda record: record.partition)
    tell = sink.store.tell

    async def told_apart(told: Sequence[Told]) -> Sequence[Feedback | PenstockError]:
        if len(told) > 1:
            raise InvalidInput("one of them does not fit")
        if told[0].id == "job_1":
            raise StoreUnavailable("it is away")
        return await tell(told)

    monkeypatch.setattr(sink.store, "tell", told_apart)
    monkeypatch.setattr(sink.member, "owns", lambda record: record is owned)
    done: list[Record] = []
    monkeypatch.setattr(sink.member, "done", done.extend)
    await sink.pipeline.work([lost, owned])
    assert done == [owned]


async def test_feedback_of_a_lost_partition_is_let_go(sink: Well) -> None:
    working = asyncio.create_task(sink.work(told("job_3")))
    await eventually(lambda: sink.member.open_count == 1)
    sink.member.lose_all()
    await working
    assert sink.log.records(DEAD_LETTERS) == []
