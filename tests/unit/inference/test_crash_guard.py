"""Jobs that were started before and never ended: alone from then on, and given up in the end."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.typing import EventDict

from producers.memory import MemoryLog
from schemas.records import LaneJob
from schemas.stats import End
from schemas.topics import Topics
from stores.memory_starts import MemoryStarts
from stores.protocols import JobKey
from tests.unit.inference.jobs import LIVE_TOPIC, lane_job, request_json
from tests.unit.inference.models import Adder, HeldAdder
from tests.unit.inference.worker import RESULTS, HeldLog, small_worker
from tests.waiting import eventually
from workers.consuming.offsets import Partition
from workers.inference.engine import crash_guard
from workers.inference.engine.crash_guard import MOST_STARTS

PARTITION_0 = frozenset([Partition(LIVE_TOPIC, 0)])


def jobs(count: int) -> list[LaneJob]:
    """Jobs of one row each; the value of the row is the job's number."""
    return [lane_job(payload=request_json([number])) for number in range(count)]


def keys(of: Sequence[LaneJob]) -> list[JobKey]:
    return [JobKey(job.tenant, job.id) for job in of]


def started(*before: tuple[LaneJob, int]) -> MemoryStarts:
    """Counts of jobs that were started before."""
    starts = MemoryStarts()
    starts.counts.update({JobKey(job.tenant, job.id): times for job, times in before})
    return starts


async def test_what_runs_is_counted_and_what_has_ended_is_not() -> None:
    model, starts, submitted = HeldAdder(), MemoryStarts(), jobs(4)
    async with small_worker(model, starts=starts) as worker:
        await worker.submit(*submitted)
        await eventually(lambda: model.batches)
        assert starts.counts == dict.fromkeys(keys(submitted), 1)
        model.let_go()
        await eventually(lambda: worker.ended(submitted) and not starts.counts)


async def test_a_job_that_was_started_before_runs_alone_and_its_neighbors_together() -> None:
    submitted = jobs(4)
    starts, model = started((submitted[1], 1)), Adder()
    log = MemoryLog(partitions=1)
    async with small_worker(model, log=log, starts=starts) as worker:
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted))
    assert sorted(model.batches) == [[0.0, 2.0, 3.0], [1.0]]
    assert {end.status for end in worker.ends()} == {"succeeded"}


async def test_a_job_alone_is_counted_when_it_starts_and_not_while_another_still_runs() -> None:
    submitted = jobs(4)
    model, starts = HeldAdder(), started((submitted[0], 1), (submitted[1], 1))
    async with small_worker(model, starts=starts) as worker:
        # Given two suspects: the first runs, after their neighbors
        await worker.submit(*submitted)
        await eventually(lambda: model.batches)
        model.let_go()
        await eventually(lambda: len(model.batches) == 2)
        # Then the second, which stands behind it, is not charged with what the first may do
        await eventually(lambda: worker.waits_alone(worker.live))
        assert [starts.counts[key] for key in keys(submitted[:2])] == [2, 1]
        model.let_go(2)
        await eventually(lambda: worker.ended(submitted) and not starts.counts)


async def test_a_job_alone_has_ended_before_the_next_starts() -> None:
    submitted = jobs(2)
    log, starts = HeldLog(RESULTS), started((submitted[0], 1), (submitted[1], 1))
    model = Adder()
    async with small_worker(model, log=log, starts=starts) as worker:
        # Given two suspects, and a Kafka that does not acknowledge the end of the first
        log.acknowledging.clear()
        await worker.submit(*submitted)
        await eventually(lambda: log.waiting == 1 and worker.waits_alone(worker.live))
        # Then the second does not start: if it ended the process, the first would be held to be guilty as well
        assert len(model.batches) == 1
        assert [starts.counts[key] for key in keys(submitted)] == [2, 1]
        log.acknowledging.set()
        await eventually(lambda: worker.ended(submitted) and not starts.counts)


async def test_after_three_starts_a_job_is_parked_and_never_reaches_the_model(logs: list[EventDict]) -> None:
    submitted = jobs(4)
    model, starts = Adder(), started((submitted[2], MOST_STARTS))
    async with small_worker(model, starts=starts) as worker:
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted) and worker.open_count == 0)
    assert model.batches == [[0.0, 1.0, 3.0]]
    # It stays counted: were its record to come again, it would be given up again
    assert set(starts.counts) == set(keys(submitted[2:3]))
    # Its end says so
    (end,) = (end for end in worker.ends() if end.id == submitted[2].id)
    assert end.error is not None
    assert end.error.code == "model_crashed"
    # And its record is kept
    (letter,) = worker.log.records(Topics.dead_letter(LIVE_TOPIC))
    assert letter.key == submitted[2].id.encode()
    assert dict(letter.headers)["__dlq.errors.delivery.count"] == b"3"
    assert [line["job"] for line in logs if line["event"].startswith("a job is given up")] == [submitted[2].id]


async def test_that_a_job_was_given_up_is_told_before_the_next_may_end_the_process() -> None:
    submitted = jobs(2)
    model, starts = Adder(), started((submitted[0], MOST_STARTS), (submitted[1], 1))
    async with small_worker(model, starts=starts) as worker:
        # Given one job too many starts, a suspect behind it, and a Kafka that takes its time
        worker.may_tell.clear()
        await worker.submit(*submitted)
        await eventually(lambda: worker.counted and worker.waits_alone(worker.live))
        # Then the one is in what is told, and the other has not started
        ((lane, counts),) = worker.counted
        assert (lane, counts.others) == (worker.live.lane, {End.FAILED: 1})
        assert not model.batches
        worker.may_tell.set()
        await eventually(lambda: worker.ended(submitted))


async def test_a_job_that_is_given_up_once_more_counts_once() -> None:
    submitted = jobs(2)
    starts = started((submitted[0], MOST_STARTS + 1), (submitted[1], MOST_STARTS))
    async with small_worker(Adder(), starts=starts) as worker:
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted) and worker.counted)
        assert [counts.others for _, counts in worker.counted] == [{End.FAILED: 1}]


async def test_what_was_counted_ahead_and_is_revoked_before_it_starts_is_forgotten() -> None:
    model, starts, submitted = HeldAdder(), MemoryStarts(), jobs(8)
    async with small_worker(model, starts=starts) as worker:
        # Given a micro-batch in the model and one behind it, both counted
        await worker.submit(*submitted)
        await eventually(lambda: len(starts.counts) == 8)
        # When the partition is lost
        draining = asyncio.create_task(worker.live.drain(PARTITION_0))
        await eventually(lambda: not worker.formed(worker.live))
        model.let_go()
        await draining
        # Then nothing is held against the jobs that wait elsewhere
        await eventually(lambda: not starts.counts)


async def test_what_was_counted_ahead_is_forgotten_when_the_worker_is_told_to_stop() -> None:
    model, starts, submitted = HeldAdder(), MemoryStarts(), jobs(8)
    async with small_worker(model, starts=starts) as worker:
        await worker.submit(*submitted)
        await eventually(lambda: len(starts.counts) == 8 and worker.formed(worker.live) == 4)
        worker.loop.cancel()
        await eventually(lambda: sorted(starts.counts) == sorted(keys(submitted[:4])))
        model.let_go()
        await eventually(lambda: not starts.counts)


async def test_a_run_that_is_left_behind_stays_counted() -> None:
    model, starts, submitted = HeldAdder(), MemoryStarts(), jobs(1)
    async with small_worker(model, starts=starts) as worker:
        await worker.submit(*submitted)
        await eventually(lambda: model.batches)
        await worker.engine.abandon()
        assert starts.counts == dict.fromkeys(keys(submitted), 1)
        model.let_go()


async def test_what_ended_before_its_count_was_needed_is_forgotten_at_the_stop() -> None:
    starts, submitted = MemoryStarts(), jobs(1)
    log = HeldLog(RESULTS)
    async with small_worker(Adder(), log=log, starts=starts) as worker:
        await worker.submit(*submitted)
        await eventually(lambda: worker.open_count == 0 and worker.ended(submitted))
    assert not starts.counts


async def test_without_the_store_jobs_run_uncounted_and_it_is_said_once(logs: list[EventDict]) -> None:
    starts, submitted = MemoryStarts(), jobs(9)
    starts.down = True
    async with small_worker(Adder(), starts=starts) as worker:
        for job in submitted[:8]:
            await worker.submit(job)
        await eventually(lambda: worker.ended(submitted[:8]))
        starts.down = False
        await worker.submit(submitted[8])
        await eventually(lambda: worker.ended(submitted))
    said = [line["event"] for line in logs if line["event"].startswith("starts of jobs")]
    assert said == ["starts of jobs are not counted until Redis is back", "starts of jobs are counted again"]


async def test_what_has_ended_is_forgotten_with_the_next_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_guard, "FORGET_WITHIN_S", 3600.0)
    model, starts, first, second = HeldAdder(), MemoryStarts(), jobs(4), jobs(4)
    async with small_worker(model, starts=starts) as worker:
        await worker.submit(*first)
        await eventually(lambda: model.batches)
        model.let_go()
        await eventually(lambda: worker.ended(first) and not worker.open_count)
        await worker.submit(*second)
        await eventually(lambda: len(model.batches) == 2)
        assert starts.counts == dict.fromkeys(keys(second), 1)
        model.let_go()
        await eventually(lambda: worker.ended([*first, *second]))


async def test_of_a_model_that_cannot_end_the_worker_no_starts_are_counted() -> None:
    model, starts, submitted = HeldAdder(), MemoryStarts(), jobs(4)
    async with small_worker(model, starts=starts) as worker:
        worker.live.guarded = False
        await worker.submit(*submitted)
        await eventually(lambda: model.batches)
        assert not starts.counts
        model.let_go()
        await eventually(lambda: worker.ended(submitted))


class SlowStarts(MemoryStarts):
    """Counts, and answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = asyncio.Event()

    async def count(self, keys: Sequence[JobKey], ended: Sequence[JobKey] = ()) -> Sequence[int]:
        counted = await super().count(keys, ended)
        await self.answering.wait()
        return counted


async def test_what_was_being_counted_when_the_worker_was_told_to_stop_is_forgotten() -> None:
    starts, submitted = SlowStarts(), jobs(4)
    starts.counts[keys(submitted)[0]] = 1
    async with small_worker(Adder(), starts=starts) as worker:
        # Given a micro-batch whose starts are counted while the answer is on its way
        await worker.submit(*submitted)
        await eventually(lambda: len(starts.counts) == 4)
        worker.loop.cancel()
        await asyncio.gather(worker.loop, return_exceptions=True)
        starts.answering.set()
        await worker.engine.abandon()
    # Then only what was counted before stays so
    assert set(starts.counts) == set(keys(submitted[:1]))
