"""The worker's loop over the twins of Kafka and Redis: what runs when, and what becomes of each job."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from producers.memory import MemoryLog
from schemas.errors import PenstockError, QueueUnavailable
from schemas.jobs import Status, Terminal
from schemas.records import LaneJob, OutRecord
from schemas.tensors import Array
from schemas.topics import Lane, LaneClass
from stores.memory_starts import MemoryStarts
from stores.protocols import JobKey
from tests.unit.inference.jobs import BULK, LIVE_TOPIC, TOPICS, lane_job, out_record, request_json
from tests.unit.inference.models import Adder, HeldAdder
from tests.unit.inference.worker import RESULTS, HeldLog, SmallWorker, small_worker
from tests.waiting import eventually
from workers.consuming.offsets import Partition
from workers.inference.batching.padding import Padding
from workers.inference.engine import completion, engine, prepare, scheduler
from workers.inference.engine.micro_batch import BatchState, MicroBatch
from workers.inference.execution import runs
from workers.inference.execution.failures import DeviceFailed

PARTITION_0 = frozenset([Partition(LIVE_TOPIC, 0)])


@pytest.fixture(autouse=True)
def each_run_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short it is: what comes between two runs is looked at here."""
    monkeypatch.setattr(runs, "TURN_S", 0.0)


def jobs(count: int, first: int = 0) -> list[LaneJob]:
    """Jobs of one row each; the value of the row is the job's number."""
    return [lane_job(payload=request_json([number])) for number in range(first, first + count)]


def bulk_jobs(count: int, first: int = 0) -> list[LaneJob]:
    return [lane_job(payload=request_json([number]), lane=BULK) for number in range(first, first + count)]


def codes(ends: Sequence[Terminal]) -> dict[str, str]:
    """By job id what became of it: its error code, or its status."""
    return {end.id: end.error.code if end.error else end.status for end in ends}


async def running(model: HeldAdder, worker: SmallWorker, first: Sequence[LaneJob]) -> None:
    """Submit jobs and wait until they are in the model."""
    await worker.submit(*first)
    await eventually(lambda: len(model.batches) == 1)
    assert len(model.batches[0]) == len(first)


async def test_every_job_ends_once_with_its_own_answer() -> None:
    async with small_worker(Adder()) as worker:
        submitted = [*jobs(50), *bulk_jobs(50, first=50)]
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted) and worker.open_count == 0)
    for number, job in enumerate(submitted):
        (end,) = (end for end in worker.ends() if end.id == job.id)
        assert end.result is not None
        assert f'"data":[{2.0 * number}]'.encode() in end.result.value


async def test_the_next_micro_batch_is_closed_and_stacked_while_one_runs_and_no_more_than_that() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given four rows in the model
        first, rest = jobs(4), jobs(12, first=4)
        await running(model, worker, first)

        # When many more come
        await worker.submit(*rest)

        # Then one full micro-batch stands behind, closed; the others can still be overtaken
        await eventually(lambda: worker.formed(worker.live) == 4 and len(worker.live._batcher) == 8)
        assert len(model.batches) == 1
        model.let_go(4)
        await eventually(lambda: worker.ended([*first, *rest]))
        assert [len(batch) for batch in model.batches] == [4, 4, 4, 4]


async def test_a_micro_batch_that_is_not_full_stays_open_while_another_runs() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        first, second = jobs(1), jobs(3, first=1)
        await running(model, worker, first)

        # When jobs trickle in, each of them due at once
        for number, job in enumerate(second, 1):
            await worker.submit(job)
            await eventually(lambda number=number: len(worker.live._batcher) == number)  # type: ignore[misc]

        # Then they run together
        model.let_go(2)
        await eventually(lambda: worker.ended([*first, *second]))
        assert model.batches == [[0], [1, 2, 3]]


@asynccontextmanager
async def foreseen(
    model: HeldAdder,
    monkeypatch: pytest.MonkeyPatch,
    starts: MemoryStarts | None = None,
    *,
    hands_over: bool = True,
    fails: bool = False,
) -> AsyncIterator[SmallWorker]:
    """A worker to which every run seems to be about to end, for as long as it takes."""
    monkeypatch.setattr(scheduler.Lookahead, "may_form", lambda *_: True)
    monkeypatch.setattr(scheduler.Lookahead, "may_hand_over", lambda *_: hands_over)
    async with small_worker(model, starts=starts, fails=fails) as worker:
        yield worker


async def test_a_micro_batch_that_is_not_full_is_prepared_when_a_run_is_about_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = HeldAdder()
    async with foreseen(model, monkeypatch, hands_over=False) as worker:
        first, second = jobs(1), jobs(2, first=1)
        await running(model, worker, first)

        await worker.submit(*second)

        # Then its starts are counted and its rows stacked, though the device is busy
        await eventually(lambda: worker.prepared(worker.live) == 2)
        assert worker.starts.counts.keys() >= {JobKey("default", job.id) for job in second}
        assert len(model.batches) == 1
        model.let_go(2)
        await eventually(lambda: worker.ended([*first, *second]))
    assert model.batches == [[0], [1, 2]]


@pytest.mark.parametrize("count", [1, 4])
async def test_during_a_run_the_engine_looks_again_when_the_next_may_be_formed_or_go_on_and_no_sooner(
    count: int,
) -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given that runs take a minute, and preparing some seconds
        ahead = worker.engine._lookahead
        for _ in range(20):
            worker.sizer.observe(1, 1.0, 60.0)
            ahead.prepared(10.0)
        first, second = jobs(1), jobs(count, first=1)
        await running(model, worker, first)

        # When more come, which is due, and formed already if it is full
        await worker.submit(*second)
        await eventually(lambda: worker.prepared(worker.live) + len(worker.live._batcher) == count)

        look_again = worker.engine._look_again
        assert look_again is not None
        assert look_again.when() == pytest.approx(ahead._ends_at - ahead._lead_s, abs=20)
        model.let_go(2)
        await eventually(lambda: worker.ended([*first, *second]))


async def test_the_device_goes_by_itself_to_the_micro_batch_that_it_was_handed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HeldAdder()
    async with foreseen(model, monkeypatch) as worker:
        first, second, third = jobs(1), jobs(1, first=1), jobs(1, first=2)
        await running(model, worker, first)
        await worker.submit(*second)
        await eventually(lambda: len(worker.engine._on_device) == 2)

        # And no more than one stands behind what runs
        await worker.submit(*third)
        await eventually(lambda: len(worker.live._batcher) == 1)

        # When the run ends while the loop does nothing
        model.let_go()
        model.wait_for_runs(2)
        assert model.batches == [[0], [1]]
        model.let_go(2)
        await eventually(lambda: worker.ended([*first, *second, *third]))
    assert model.batches == [[0], [1], [2]]


async def test_the_run_of_what_was_handed_the_device_is_timed_from_when_it_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = HeldAdder()
    async with foreseen(model, monkeypatch) as worker:
        for _ in range(10):
            worker.sizer.observe(1, 1.0, 60.0)
        first, second = jobs(1), jobs(1, first=1)
        await running(model, worker, first)
        await worker.submit(*second)
        await eventually(lambda: len(worker.engine._on_device) == 2)

        # Given that the first one takes an hour more
        _, handed = worker.engine._on_device
        handed.submitted_at -= 3600
        model.let_go()
        await eventually(lambda: worker.engine._on_device == [handed])

        # Then the second one, too, has an end that is expected, and it has not kept the device for an hour
        assert worker.engine._lookahead._error_s > 0
        assert worker.engine._lookahead.next_look(time.monotonic(), formed=False) is not None
        model.let_go()
        await eventually(lambda: worker.ended([*first, *second]))
        assert handed.turn_s < 3600


@pytest.mark.parametrize("how", ["canceled", "deadline_exceeded"])
async def test_a_job_that_is_over_when_the_device_comes_to_it_costs_no_run(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = HeldAdder()
    async with foreseen(model, monkeypatch) as worker:
        first, second = jobs(1), [lane_job(expires_in_s=10)]
        await running(model, worker, first)
        await worker.submit(*second)
        await eventually(lambda: len(worker.engine._on_device) == 2)

        if how == "canceled":
            worker.canceled.add(JobKey("default", second[0].id))
        else:
            worker.clock.advance(10)

        model.let_go()
        await eventually(lambda: worker.ended([*first, *second]) and worker.open_count == 0)
    assert len(model.batches) == 1
    assert codes(worker.ends())[second[0].id] == how


async def test_what_the_device_was_handed_does_not_begin_once_it_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HeldAdder()
    async with foreseen(model, monkeypatch) as worker:
        await running(model, worker, jobs(1))
        await worker.submit(*jobs(1, first=1))
        await eventually(lambda: len(worker.engine._on_device) == 2)
        await worker.engine.abandon()
        model.let_go()
        await eventually(lambda: not worker.thread.busy)
        assert model.batches == [[0]]
        assert worker.open_count == 2


async def test_nor_does_what_it_is_handed_in_the_moment_in_which_it_is_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = HeldAdder()
    async with foreseen(model, monkeypatch) as worker:
        await running(model, worker, jobs(1))
        go_on, abandoning = worker.engine._go_on, []

        def abandon_as_it_goes_on(batch: MicroBatch) -> None:
            abandoning.append(asyncio.create_task(worker.engine.abandon()))  # comes before the batch's own task
            go_on(batch)

        monkeypatch.setattr(worker.engine, "_go_on", abandon_as_it_goes_on)
        await worker.submit(*jobs(1, first=1))
        await eventually(lambda: abandoning)
        await asyncio.gather(*abandoning)
        model.let_go(2)
        await eventually(lambda: not worker.thread.busy)
        assert model.batches == [[0]]
        assert worker.open_count == 2


async def test_what_runs_alone_has_no_neighbor_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HeldAdder()
    (suspect,) = first = jobs(1)
    starts = MemoryStarts()
    await starts.count([JobKey("default", suspect.id)])
    async with foreseen(model, monkeypatch, starts) as worker:
        await running(model, worker, first)
        second = jobs(4, first=1)
        await worker.submit(*second)
        await eventually(lambda: worker.prepared(worker.live) == 4)
        assert len(worker.engine._on_device) == 1
        model.let_go(2)
        await eventually(lambda: worker.ended([*first, *second]))


async def test_what_runs_alone_is_handed_the_device_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    model, starts = HeldAdder(), MemoryStarts()
    first, (suspect,) = jobs(1), jobs(1, first=1)
    await starts.count([JobKey("default", suspect.id)])
    async with foreseen(model, monkeypatch, starts) as worker:
        await running(model, worker, first)
        await worker.submit(suspect)

        def seen() -> bool:
            return any(batch.alone and batch.state is not BatchState.FORMED for batch in worker.engine._open.values())

        # Then it waits until the run has ended, and is not counted once more before
        await eventually(seen)
        assert len(worker.engine._on_device) == 1
        assert starts.counts[JobKey("default", suspect.id)] == 1
        model.let_go(2)
        await eventually(lambda: worker.ended([*first, suspect]))


class SlowStarts(MemoryStarts):
    """Counts the start of a job that runs alone only once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def count_again(self, key: JobKey) -> int:
        self.asked.set()
        await self.let.wait()
        return await super().count_again(key)


@pytest.mark.parametrize("how", ["canceled", "deadline_exceeded"])
async def test_a_job_that_is_over_while_its_start_alone_is_counted_costs_no_run(how: str) -> None:
    model, starts, suspect = HeldAdder(), SlowStarts(), lane_job(expires_in_s=10)
    await starts.count([JobKey("default", suspect.id)])
    async with small_worker(model, starts=starts) as worker:
        await worker.submit(suspect)
        await starts.asked.wait()

        if how == "canceled":
            worker.canceled.add(JobKey("default", suspect.id))
        else:
            worker.clock.advance(10)
        starts.let.set()
        model.let_go()

        await eventually(lambda: worker.ended([suspect]) and worker.open_count == 0)
    assert model.batches == []
    assert codes(worker.ends()) == {suspect.id: how}


async def test_live_overtakes_bulk_while_a_run_is_about_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HeldAdder()
    async with foreseen(model, monkeypatch, hands_over=False) as worker:
        first, behind, urgent = jobs(1), bulk_jobs(4, first=100), jobs(1, first=1)
        await running(model, worker, first)
        await worker.submit(*behind)
        await eventually(lambda: worker.prepared(worker.bulk) == 4)

        await worker.submit(*urgent)

        await eventually(lambda: worker.prepared(worker.live) == 1)
        model.let_go(3)
        await eventually(lambda: worker.ended([*first, *behind, *urgent]))
    assert model.batches == [[0], [1], [100, 101, 102, 103]]


async def test_bulk_is_not_handed_the_device_before_live_that_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given full bulk that was formed ahead, and a live job that came long before the end of the run
        first, behind, urgent = jobs(1), bulk_jobs(4, first=100), jobs(1, first=1)
        await running(model, worker, first)
        await worker.submit(*behind)
        await eventually(lambda: worker.prepared(worker.bulk) == 4)
        await worker.submit(*urgent)
        await eventually(lambda: len(worker.live._batcher) == 1)

        # When the device may be handed over, though to form something would be too early
        monkeypatch.setattr(scheduler.Lookahead, "may_hand_over", lambda *_: True)
        worker.engine.wake()

        # Then the live job has it
        await eventually(lambda: len(worker.engine._on_device) == 2)
        model.let_go(3)
        await eventually(lambda: worker.ended([*first, *behind, *urgent]))
    assert model.batches == [[0], [1], [100, 101, 102, 103]]


async def test_bulk_is_not_handed_the_device_where_runs_end_much_later_than_expected() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given runs that are expected to take 0.1 s, and took 0.2 s lately
        ahead = worker.engine._lookahead
        for _ in range(20):
            worker.sizer.observe(1, 1.0, 0.1)
            ahead.begins(0.0, 0.1)
            ahead.ends(0.2)
        first, behind, urgent = jobs(1), bulk_jobs(4, first=100), jobs(1, first=1)
        await running(model, worker, first)
        await worker.submit(*behind)
        await eventually(lambda: worker.prepared(worker.bulk) == 4)

        # When a live job comes after the end that was expected
        await eventually(lambda: time.monotonic() > ahead._ends_at + 2 * scheduler.HANDED_OVER_WITHIN_S)
        await worker.submit(*urgent)
        await eventually(lambda: len(worker.live._batcher) == 1)

        # Then it goes before the bulk that stood behind the run
        model.let_go(3)
        await eventually(lambda: worker.ended([*first, *behind, *urgent]))
    assert model.batches == [[0], [1], [100, 101, 102, 103]]


async def test_a_live_job_waits_for_what_runs_and_not_for_bulk_that_is_closed_behind_it() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given a backlog of bulk, four rows of it running and four closed
        backlog, urgent = bulk_jobs(20), jobs(1, first=100)
        await worker.submit(*backlog)
        await eventually(lambda: len(model.batches) == 1 and worker.formed(worker.bulk) > 0)

        await worker.submit(*urgent)
        await eventually(lambda: len(worker.live._batcher) == 1)

        model.let_go(10)
        await eventually(lambda: worker.ended([*backlog, *urgent]))
        assert model.batches[1] == [100]
        assert model.batches[2] == [4, 5, 6, 7]  # what it overtook is next, as it was closed
        assert len(model.batches) == 6


async def test_publishing_overlaps_with_the_next_run() -> None:
    log = HeldLog(RESULTS)
    log.acknowledging.clear()
    model = Adder()
    async with small_worker(model, log=log) as worker:
        # When nothing that is published is acknowledged
        await worker.submit(*jobs(40))

        # Then a few more micro-batches run meanwhile, and no more than that
        await eventually(lambda: log.waiting == engine.MOST_OPEN)
        assert len(model.batches) == engine.MOST_OPEN
        assert worker.formed(worker.live) == 0  # what waits can still be forgotten

        log.acknowledging.set()
        await eventually(lambda: len(worker.ends()) == 40)


async def test_results_are_published_until_kafka_takes_them() -> None:
    log = MemoryLog(partitions=1)
    async with small_worker(Adder(), log=log) as worker:
        submitted = jobs(3)
        await worker.submit(*submitted)
        log.fail_next = [QueueUnavailable("down")] * 3
        await eventually(lambda: worker.ended(submitted) and worker.open_count == 0)


async def test_a_poisonous_job_fails_alone() -> None:
    async with small_worker(Adder(poison=frozenset([2.0]))) as worker:
        submitted = jobs(4)
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted))
    expected = ["succeeded", "succeeded", "inference_failed", "succeeded"]
    assert codes(worker.ends()) == dict(zip([job.id for job in submitted], expected, strict=True))


async def test_a_job_canceled_while_its_micro_batch_waits_costs_no_run() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given a micro-batch that is closed and stacked behind one that runs
        first, second = jobs(4), jobs(4, first=4)
        await running(model, worker, first)
        await worker.submit(*second)
        await eventually(lambda: worker.formed(worker.live) == 4)

        worker.canceled.add(JobKey("default", second[1].id))

        model.let_go(2)
        await eventually(lambda: worker.ended([*first, *second]))
    assert model.batches[1] == [4, 6, 7]
    assert codes(worker.ends())[second[1].id] == "canceled"
    assert list(codes(worker.ends()).values()).count("succeeded") == 7


async def test_jobs_whose_deadline_passes_while_they_wait_cost_no_run() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        first, late = jobs(4), [lane_job(expires_in_s=10) for _ in range(4)]
        await running(model, worker, first)
        await worker.submit(*late)
        await eventually(lambda: worker.formed(worker.live) == 4)

        worker.clock.advance(10)

        model.let_go(1)
        await eventually(lambda: worker.ended([*first, *late]))
        assert len(model.batches) == 1
        # And the device is free for others
        (another,) = more = jobs(1, first=100)
        await worker.submit(*more)
        model.let_go(1)
        await eventually(lambda: codes(worker.ends()).get(another.id) == "succeeded")
    assert {codes(worker.ends())[job.id] for job in late} == {"deadline_exceeded"}


@pytest.mark.parametrize("how", ["canceled", "deadline_exceeded"])
async def test_a_job_that_is_over_when_its_run_ends_gets_no_result(how: str) -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        (job,) = submitted = [lane_job(expires_in_s=10)]
        await running(model, worker, submitted)
        if how == "canceled":
            worker.canceled.add(JobKey("default", job.id))
        else:
            worker.clock.advance(10)
        model.let_go()
        await eventually(lambda: worker.ended(submitted))
    (end,) = worker.ends()
    assert end.result is None
    assert end.error is not None
    assert end.error.code == how


async def test_a_job_that_runs_for_a_while_is_announced_as_running() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        heard = asyncio.ensure_future(anext(worker.signals.running()))
        (job,) = submitted = jobs(1)
        await running(model, worker, submitted)
        keys, started_at = await heard
        assert list(keys) == [JobKey("default", job.id)]
        assert started_at == worker.clock.now
        model.let_go()


async def test_a_quick_job_is_never_shown_as_running() -> None:
    async with small_worker(Adder()) as worker:
        worker.engine._announcer.after_s = 3600.0
        heard = asyncio.ensure_future(anext(worker.signals.running()))
        submitted = jobs(8)
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted))
        assert not heard.done()
        heard.cancel()
        await asyncio.gather(heard, return_exceptions=True)


async def test_without_redis_jobs_run_all_the_same() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        worker.signals.down = True
        submitted = jobs(1)
        await running(model, worker, submitted)
        await eventually(lambda: not worker.engine._announcer._telling)
        model.let_go()
        await eventually(lambda: worker.ended(submitted))


async def test_draining_finishes_what_runs_and_forgets_the_rest() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given four jobs in the model, four closed behind them, and more waiting
        first, rest = jobs(4), jobs(12, first=4)
        await running(model, worker, first)
        await worker.submit(*rest)
        await eventually(lambda: worker.formed(worker.live) == 4 and len(worker.live._batcher) == 8)

        # When their partition is about to be lost
        draining = asyncio.create_task(worker.live.drain(PARTITION_0))
        await asyncio.wait([draining], timeout=0)
        assert not draining.done()
        model.let_go(1)
        await draining

        # Then those in the model have ended, and nothing else begins to run
        assert worker.ended(first)
        assert worker.open_count == 12
        assert len(model.batches) == 1
        await eventually(lambda: not worker.starts.counts)


async def test_one_lane_drains_while_the_other_goes_on() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        first, others = jobs(4), bulk_jobs(4, first=100)
        await running(model, worker, first)
        await worker.submit(*others)
        await eventually(lambda: worker.formed(worker.bulk) == 4)
        draining = asyncio.create_task(worker.live.drain(PARTITION_0))
        model.let_go(2)
        await draining
        await eventually(lambda: worker.ended([*first, *others]))


async def test_a_rebalance_in_the_middle_of_a_run_loses_no_job() -> None:
    # Given jobs that run and jobs that wait
    model, log = HeldAdder(), MemoryLog(partitions=1)
    async with small_worker(model, log=log) as worker:
        submitted = jobs(8)
        await worker.submit(*submitted)
        await eventually(lambda: len(model.batches) == 1)

        # When the group shares out its partitions anew, without a grace
        consumer = worker.consumers[worker.live]
        async with consumer._group.member():
            pass
        model.let_go(20)

        # Then each comes again and ends, and the offsets of the lost ownership do not count
        await eventually(lambda: {end.id for end in worker.ends()} == {job.id for job in submitted})
        await eventually(lambda: worker.open_count == 0)


async def test_large_tensors_are_stacked_and_encoded_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "INLINE_STACK_BYTES", 0)
    monkeypatch.setattr(completion, "INLINE_ENCODE_BYTES", 0)
    async with small_worker(Adder()) as worker:
        submitted = jobs(20)
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted))
    assert {end.status for end in worker.ends()} == {Status.SUCCEEDED}


async def test_where_memory_does_not_suffice_to_stack_the_runner_tries_in_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room_for_all(padding: Padding, requests: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        if len(requests) > 1:
            raise MemoryError
        return stack(padding, requests)

    stack = Padding.stack
    monkeypatch.setattr(Padding, "stack", no_room_for_all)
    async with small_worker(Adder()) as worker:
        submitted = jobs(4)
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted))
    assert {end.status for end in worker.ends()} == {Status.SUCCEEDED}


async def test_rows_that_cannot_be_stacked_fail_their_job_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_big_by_one(padding: Padding, requests: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        if any(2.0 in inputs["x"] for inputs in requests):
            raise ValueError("array is too big")
        return stack(padding, requests)

    stack = Padding.stack
    monkeypatch.setattr(Padding, "stack", too_big_by_one)
    async with small_worker(Adder()) as worker:
        submitted = jobs(4)
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted))
    expected = ["succeeded", "succeeded", "inference_failed", "succeeded"]
    assert [codes(worker.ends())[job.id] for job in submitted] == expected


class FaultyLog(MemoryLog):
    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        if records and records[0].topic == RESULTS:
            raise RuntimeError("a fault of our own")
        return await super().publish_all(records)


async def test_a_fault_of_our_own_ends_the_loop_instead_of_being_passed_over() -> None:
    async with small_worker(Adder(), log=FaultyLog(partitions=1), fails=True) as worker:
        await worker.submit(*jobs(1))
        with pytest.raises(RuntimeError, match="a fault of our own"):
            await worker.loop_ended()
        assert worker.open_count == 1
        assert worker.live.running == 0  # a drain does not wait for what will never end


async def test_what_is_abandoned_stays_open() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        submitted = jobs(4)
        await running(model, worker, submitted)
        await worker.engine.abandon()
        assert worker.live.running == 0
        assert worker.open_count == 4
        model.let_go()
    assert worker.ends() == []


async def test_a_model_that_ends_its_thread_fails_the_job_and_the_worker_lives() -> None:
    class Quitter(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            if np.any(inputs["x"] == 1):
                raise SystemExit(3)
            return super().run(inputs, parameters)

    async with small_worker(Quitter()) as worker:
        submitted = jobs(4)
        await worker.submit(*submitted)
        await eventually(lambda: worker.ended(submitted))
    assert codes(worker.ends())[submitted[1].id] == "inference_failed"
    assert list(codes(worker.ends()).values()).count("succeeded") == 3


async def test_a_record_in_the_wrong_lane_ends_and_a_record_that_is_no_job_is_buried() -> None:
    async with small_worker(Adder()) as worker:
        stray = out_record(lane_job(lane=Lane("adder", "2", LaneClass.LIVE)))._replace(topic=LIVE_TOPIC)
        await worker.log.publish_all([OutRecord(LIVE_TOPIC, b"k", b"{}", []), stray])
        letters = TOPICS.dead_letter(LIVE_TOPIC)
        await eventually(lambda: worker.ends() and worker.log.records(letters) and worker.open_count == 0)
    assert list(codes(worker.ends()).values()) == ["invalid_input"]
    assert len(worker.log.records(letters)) == 1


def large_job(rows: int, *, lane: Lane = BULK, expires_in_s: float = 3600) -> LaneJob:
    """A job of many slices of four rows."""
    return lane_job(payload=request_json([1000.0] * rows), lane=lane, expires_in_s=expires_in_s)


async def test_a_live_job_waits_for_one_slice_of_a_large_bulk_job_and_not_for_all_of_it() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given a bulk job of many slices, one of them running
        large, urgent = large_job(40), jobs(1)
        await worker.submit(large)
        await eventually(lambda: len(model.batches) == 1)

        await worker.submit(*urgent)
        await eventually(lambda: len(worker.live._batcher) == 1)

        # Then the live job is next, and the large one goes on after it
        model.let_go(11)
        await eventually(lambda: worker.ended([large, *urgent]))
    assert model.batches[1] == [0]
    assert len(model.batches) == 11
    assert set(codes(worker.ends()).values()) == {"succeeded"}


async def test_a_large_bulk_job_keeps_its_share_of_the_turns_beside_a_stream_of_live_ones() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        large, stream = large_job(8), jobs(80)
        await worker.submit(large)
        await eventually(lambda: len(model.batches) == 1)
        await worker.submit(*stream)
        await eventually(lambda: worker.live._batcher.room == 0)
        model.let_go(30)
        await eventually(lambda: worker.ended([large, *stream]))
    assert 1 < model.batches.index([1000.0] * 4, 1) <= 9


@pytest.mark.parametrize("how", ["canceled", "deadline_exceeded"])
async def test_a_large_job_that_is_over_between_two_slices_runs_no_further(how: str) -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        large = large_job(4000, expires_in_s=10)
        await worker.submit(large)
        await eventually(lambda: len(model.batches) == 1)
        if how == "canceled":
            worker.canceled.add(JobKey("default", large.id))
        else:
            worker.clock.advance(10)
        model.let_go()
        await eventually(lambda: worker.ended([large]) and worker.open_count == 0)
    assert len(model.batches) == 1
    assert codes(worker.ends()) == {large.id: how}


async def test_draining_lets_a_large_job_finish_though_others_overtake_it() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        large = large_job(12)
        await worker.submit(large)
        await eventually(lambda: len(model.batches) == 1)
        draining = asyncio.create_task(worker.bulk.drain(frozenset([Partition(TOPICS.lane(BULK), 0)])))
        await worker.submit(*jobs(1))
        model.let_go(4)
        await draining
        assert codes(worker.ends())[large.id] == "succeeded"
        await eventually(lambda: len(worker.ends()) == 2)


async def test_a_large_job_that_is_paused_when_the_worker_is_told_to_stop_is_finished() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given a large job that stands behind a live one, between two of its slices
        large, urgent = large_job(12), jobs(1)
        await worker.submit(large)
        await eventually(lambda: len(model.batches) == 1)
        await worker.submit(*urgent)
        await eventually(lambda: len(worker.live._batcher) == 1)
        model.let_go()
        await eventually(lambda: len(model.batches) == 2)

        worker.loop.cancel()
        draining = asyncio.create_task(worker.bulk.drain(frozenset()))
        model.let_go(10)

        await draining
        await eventually(lambda: worker.ended([large, *urgent]))


async def test_large_jobs_of_a_lane_do_not_pile_up_half_done() -> None:
    model = HeldAdder()
    async with small_worker(model, max_rows=2) as worker:
        large = [large_job(8) for _ in range(6)]
        await worker.submit(*large)
        for runs in range(1, 25):
            await eventually(lambda runs=runs: len(model.batches) == runs)  # type: ignore[misc]
            assert sum(batch.begun for batch in worker.engine._open.values()) <= 3
            model.let_go()
        await eventually(lambda: worker.ended(large))


async def test_a_device_that_fails_ends_the_loop_and_its_jobs_stay_open_and_counted() -> None:
    model = Adder(poison=frozenset([1.0]), choke=DeviceFailed)
    async with small_worker(model, fails=True) as worker:
        submitted = jobs(4)
        await worker.submit(*submitted)
        with pytest.raises(DeviceFailed):
            await worker.loop_ended()
        assert worker.open_count == 4
        assert worker.live.running == 0
        assert set(worker.starts.counts) == {JobKey("default", job.id) for job in submitted}
    assert worker.ends() == []


class FailingDevice(HeldAdder):
    """Fails as soon as it is let go."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        super().run(inputs, parameters)
        raise DeviceFailed("CUDA error: unknown error")


@pytest.mark.parametrize("lane", ["live", "bulk"])
async def test_nothing_begins_on_a_device_that_has_failed(lane: str) -> None:
    model = FailingDevice()
    async with small_worker(model, fails=True) as worker:
        # Given a micro-batch that stands behind the one that runs
        first, behind = jobs(4), jobs(4, first=4) if lane == "live" else bulk_jobs(4, first=4)
        await running(model, worker, first)
        await worker.submit(*behind)
        await eventually(lambda: worker.formed(worker.live) + worker.formed(worker.bulk) == 4)

        model.let_go(10)
        with pytest.raises(DeviceFailed):
            await worker.loop_ended()

        # Then it has not been run, and its jobs are not held to have ended the process
        await worker.engine.abandon()
        assert model.batches == [[0, 1, 2, 3]]
        assert worker.open_count == 8
        assert set(worker.starts.counts) == {JobKey("default", job.id) for job in first}


async def test_what_a_device_that_fails_was_handed_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FailingDevice()
    async with foreseen(model, monkeypatch, fails=True) as worker:
        await running(model, worker, jobs(1))
        await worker.submit(*jobs(1, first=1))
        await eventually(lambda: len(worker.engine._on_device) == 2)

        model.let_go(2)
        with pytest.raises(DeviceFailed):
            await worker.loop_ended()

        await worker.engine.abandon()
        assert model.batches == [[0]]
        assert worker.open_count == 2


async def test_how_long_a_run_takes_is_expected_from_those_before_it() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        for _ in range(10):
            worker.sizer.observe(1, 1.0, 0.5)
        await running(model, worker, jobs(1))
        assert [batch.run_s for batch in worker.engine._on_device] == [pytest.approx(0.5)]
        assert worker.engine._lookahead._lead_s > 0  # and how long preparing takes
        model.let_go()


async def test_no_time_is_expected_of_the_pieces_of_a_micro_batch() -> None:
    model = HeldAdder()
    model.poison = frozenset([3.0])  # such runs are not held
    async with small_worker(model) as worker:
        for _ in range(10):
            worker.sizer.observe(4, 4.0, 0.5)
        submitted = jobs(4)
        await worker.submit(*submitted)
        await eventually(lambda: len(model.batches) == 2)
        assert len(model.batches[1]) < 4
        assert [batch.run_s for batch in worker.engine._on_device] == [None]
        model.let_go(4)
        await eventually(lambda: worker.ended(submitted))


async def test_a_lane_may_be_gone_when_its_micro_batch_would_have_begun() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        # Given a micro-batch of a version that stands behind another's
        first, behind = jobs(4), bulk_jobs(4, first=100)
        await running(model, worker, first)
        await worker.submit(*behind)
        await eventually(lambda: worker.formed(worker.bulk) == 4)

        # When the version is served no more
        await worker.bulk.drain(frozenset([Partition(TOPICS.lane(BULK), 0)]))
        del worker.consumers[worker.bulk]

        # Then the others go on
        more = jobs(1, first=200)
        await worker.submit(*more)
        model.let_go(2)
        await eventually(lambda: worker.ended([*first, *more]))
    assert len(model.batches) == 2
