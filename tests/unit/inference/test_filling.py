"""Live micro-batches that are filled up with bulk: whatever becomes of the one, the other's jobs end as they would
without it."""

import asyncio
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from producers.memory import MemoryLog
from schemas.errors import PenstockError, TransientFailure
from schemas.jobs import Terminal
from schemas.records import LaneJob, OutRecord
from schemas.signature import Signature
from schemas.tensors import Array
from schemas.topics import LaneClass
from stores.memory_starts import MemoryStarts
from stores.protocols import JobKey
from tests.unit.inference.jobs import BULK, LIVE, LIVE_TOPIC, TOPICS, lane_job, request_json
from tests.unit.inference.models import HeldAdder
from tests.unit.inference.worker import SmallWorker, small_worker
from tests.waiting import SOON_S, eventually
from workers.consuming.offsets import Partition
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.pending_job import PendingJob
from workers.inference.engine import completion
from workers.inference.engine.scheduler import Lookahead
from workers.inference.execution import runs
from workers.inference.execution.failures import DeviceFailed
from workers.inference.results.outcomes import Outcome, outcome_of

LIVE_0 = frozenset([Partition(LIVE_TOPIC, 0)])
BULK_0 = frozenset([Partition(TOPICS.lane(BULK), 0)])


@pytest.fixture(autouse=True)
def each_run_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "TURN_S", 0.0)


@pytest.fixture(autouse=True)
def runs_cost_the_same_for_any_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchSizeTuner, "predicted_s", lambda *_: 60.0)
    monkeypatch.setattr(BatchSizeTuner, "cost_within", lambda *_: math.inf)


def live(*numbers: float, expires_in_s: float = 3600) -> list[LaneJob]:
    """Jobs of one row each; the value of the row is the job's number."""
    return [lane_job(payload=request_json([number]), expires_in_s=expires_in_s) for number in numbers]


def bulk(*numbers: float, expires_in_s: float = 3600) -> list[LaneJob]:
    return [lane_job(payload=request_json([number]), lane=BULK, expires_in_s=expires_in_s) for number in numbers]


def ends(worker: SmallWorker, jobs: Sequence[LaneJob]) -> list[str]:
    """What became of each job: its error's code, or its status; and that only once."""
    found: dict[str, list[Terminal]] = {}
    for end in worker.ends():
        found.setdefault(end.id, []).append(end)
    each = [end for job in jobs for (end,) in [found[job.id]]]
    return [end.error.code if end.error else end.status for end in each]


def key(job: LaneJob) -> JobKey:
    return JobKey(job.tenant, job.id)


def counted(name: str, lane: str, **labels: str) -> float:
    labels = {"model": LIVE.model, "version": LIVE.version, "lane": lane, **labels}
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def behind(model: HeldAdder, worker: SmallWorker, *jobs: LaneJob) -> list[LaneJob]:
    """Have the jobs wait behind a run of four live ones, which are returned."""
    first = live(100, 101, 102, 103)
    await worker.submit(*first)
    await eventually(lambda: len(model.batches) == 1)
    await worker.submit(*jobs)
    await eventually(lambda: len(worker.live._batcher) + len(worker.bulk._batcher) == len(jobs))
    return first


async def filled(model: HeldAdder, worker: SmallWorker, *jobs: LaneJob) -> list[LaneJob]:
    """Have the jobs, of both lanes, run together, after others, which are returned."""
    first = await behind(model, worker, *jobs)
    model.let_go()
    await eventually(lambda: len(model.batches) == 2)
    assert len(model.batches[1]) == len(jobs)
    return first


async def formed(model: HeldAdder, worker: SmallWorker, monkeypatch: pytest.MonkeyPatch, *jobs: LaneJob) -> None:
    """Have the jobs wait in one micro-batch which could begin, behind a run of four live ones."""
    await behind(model, worker, *jobs)
    monkeypatch.setattr(Lookahead, "may_form", lambda *_: True)
    worker.engine.wake()
    await eventually(lambda: worker.prepared(worker.live) + worker.prepared(worker.bulk) == len(jobs))


async def test_a_live_micro_batch_with_room_is_filled_up_with_bulk() -> None:
    model = HeldAdder()
    rows = {lane: counted("penstock_worker_rows_total", lane) for lane in ("live", "bulk")}
    ended = {lane: counted("penstock_worker_jobs_total", lane, outcome="succeeded") for lane in ("live", "bulk")}
    used = {lane: counted("penstock_worker_device_seconds_total", lane, outcome="used") for lane in ("live", "bulk")}
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2, 3, 4)]
        first = await behind(model, worker, *jobs)
        model.let_go(3)
        await eventually(lambda: worker.ended([*first, *jobs]) and worker.open_count == 0)
        assert worker.memory.held_bytes == 0 or worker.live._held_bytes == worker.bulk._held_bytes == 0

    # Then the oldest of bulk came along, in order, and each has its own answer
    assert model.batches[1:] == [[0, 1, 2, 3], [4]]
    for number, job in enumerate(jobs):
        (end,) = (end for end in worker.ends() if end.id == job.id)
        assert end.result is not None
        assert end.lane == job.lane
        assert f'"data":[{2.0 * number}]'.encode() in end.result.value

    # And each is counted in its own lane
    assert counted("penstock_worker_rows_total", "live") - rows["live"] == 5
    assert counted("penstock_worker_rows_total", "bulk") - rows["bulk"] == 4
    assert counted("penstock_worker_jobs_total", "live", outcome="succeeded") - ended["live"] == 5
    assert counted("penstock_worker_jobs_total", "bulk", outcome="succeeded") - ended["bulk"] == 4
    assert counted("penstock_worker_device_seconds_total", "bulk", outcome="used") > used["bulk"]


async def test_nothing_is_filled_while_run_times_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchSizeTuner, "predicted_s", lambda *_: None)
    model = HeldAdder()
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2)]
        first = await behind(model, worker, *jobs)
        model.let_go(3)
        await eventually(lambda: worker.ended([*first, *jobs]))
    assert model.batches[1:] == [[0], [1, 2]]


async def test_a_bulk_job_of_many_slices_fills_nothing() -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        large = lane_job(payload=request_json([7.0] * 8), lane=BULK)
        jobs = [*live(0), large]
        first = await behind(model, worker, *jobs)
        model.let_go(4)
        await eventually(lambda: worker.ended([*first, *jobs]))
    assert model.batches[1:] == [[0], [7.0] * 4, [7.0] * 4]


async def test_the_starts_of_both_lanes_are_counted_and_forgotten() -> None:
    model, starts = HeldAdder(), MemoryStarts()
    async with small_worker(model, starts=starts) as worker:
        jobs = [*live(0), *bulk(1, 2)]
        await filled(model, worker, *jobs)
        assert starts.counts.keys() >= set(map(key, jobs))
        model.let_go()
        await eventually(lambda: not starts.counts)


@pytest.mark.parametrize("lane", ["live", "bulk"])
async def test_a_suspect_of_either_lane_runs_alone(lane: str) -> None:
    model, starts = HeldAdder(), MemoryStarts()
    async with small_worker(model, starts=starts) as worker:
        jobs = [*live(0, 1), *bulk(2, 3)]
        suspect = jobs[0 if lane == "live" else 2]
        await starts.count([key(suspect)])
        first = await behind(model, worker, *jobs)
        model.let_go(5)
        await eventually(lambda: worker.ended([*first, *jobs]) and not starts.counts)
    assert sorted(model.batches[1:]) == ([[0], [1, 2, 3]] if lane == "live" else [[0, 1, 3], [2]])


@pytest.mark.parametrize("how", ["canceled", "deadline_exceeded"])
@pytest.mark.parametrize("when", ["formed", "running"])
async def test_a_filling_job_that_is_over_ends_as_its_own_and_costs_the_live_ones_nothing(
    how: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        (urgent,), (sound,), (over,) = live(0), bulk(1), bulk(2, expires_in_s=100)
        if when == "formed":
            await formed(model, worker, monkeypatch, sound, over, urgent)
        else:
            await filled(model, worker, urgent, sound, over)
        if how == "canceled":
            worker.canceled.add(key(over))
        else:
            worker.clock.advance(100)
        model.let_go(4)
        await eventually(lambda: worker.open_count == 0)
        assert ends(worker, [urgent, sound, over]) == ["succeeded", "succeeded", how]
        assert not worker.bulk._taken


async def test_bulk_that_is_revoked_before_the_run_is_forgotten_and_live_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    model, starts = HeldAdder(), MemoryStarts()
    async with small_worker(model, starts=starts) as worker:
        (urgent,), filling = live(0), bulk(1, 2)
        await formed(model, worker, monkeypatch, *filling, urgent)
        await worker.bulk.drain(BULK_0)
        model.let_go(2)
        await eventually(lambda: len(worker.ends()) == 5 and not starts.counts)
        assert model.batches[1] == [0]
        assert worker.consumers[worker.bulk].open_count == 2
        assert not worker.bulk._taken


async def test_live_that_is_revoked_before_the_run_is_forgotten_and_its_filling_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        (urgent,), filling = live(0), bulk(1, 2)
        await formed(model, worker, monkeypatch, *filling, urgent)
        draining = asyncio.create_task(worker.live.drain(LIVE_0))
        await asyncio.wait([draining], timeout=0)
        model.let_go(2)
        await draining
        await eventually(lambda: len(worker.ends()) == 6)
        assert model.batches[1] == [1, 2]
        assert ends(worker, filling) == ["succeeded", "succeeded"]
        assert worker.consumers[worker.live].open_count == 1


async def test_live_waits_for_no_search_in_what_was_to_fill_up_a_job_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, may_form = Choking(), Lookahead.may_form
    model.poison = frozenset([2])
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2, 3)]
        await formed(model, worker, monkeypatch, *jobs)
        worker.canceled.add(key(jobs[0]))
        monkeypatch.setattr(Lookahead, "may_form", may_form)
        model.let_go()
        await eventually(lambda: len(model.batches) == 2)
        (urgent,) = live(7)
        await worker.submit(urgent)
        await eventually(lambda: len(worker.live._batcher) == 1)
        model.let_go(10)
        await eventually(lambda: len(worker.ends()) == 9)
        assert ends(worker, jobs) == ["canceled", "succeeded", "inference_failed", "succeeded"]
    assert model.batches[1:3] == [[1, 2, 3], [7]]


async def test_live_ends_are_told_before_large_results_of_bulk_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()

    def encoded_late(signature: Signature, job: PendingJob, *end: Any) -> Outcome:
        assert job.job.lane is LaneClass.LIVE or told.wait(SOON_S)
        return outcome_of(signature, job, *end)

    monkeypatch.setattr(completion, "outcome_of", encoded_late)
    monkeypatch.setattr(completion, "INLINE_ENCODE_BYTES", 8)  # one row of each output
    model = HeldAdder()
    async with small_worker(model) as worker:
        (urgent,), filling = live(0), bulk(1, 2, 3)
        await filled(model, worker, urgent, *filling)
        model.let_go()
        await eventually(lambda: len(worker.ends()) == 5)
        assert ends(worker, [urgent]) == ["succeeded"]
        told.set()
        await eventually(lambda: len(worker.ends()) == 8 and worker.open_count == 0)


async def test_what_fails_while_it_is_abandoned_does_not_go_on() -> None:
    model = Choking()
    model.poison = frozenset([2])
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2, 3)]
        await filled(model, worker, *jobs)
        (batch,) = (batch for batch in worker.engine._open.values() if len(batch.parts) == 2)
        model.let_go()
        while worker.thread.busy:  # the loop is not to hear of it before
            threading.Event().wait(0.001)
        worker.loop.cancel()
        await worker.engine.abandon()
        assert batch.execution.fell_apart
        assert not worker.engine._open
        assert worker.open_count == 4
    assert len(model.batches) == 2


async def test_each_lane_is_drained_when_its_own_jobs_have_ended() -> None:
    class BulkHeld(MemoryLog):
        """Takes no result of bulk while `acknowledging` is not set."""

        acknowledging = asyncio.Event()

        async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
            if any(record.topic == TOPICS.results and record.key in held for record in records):
                await self.acknowledging.wait()
            return await super().publish_all(records)

    model, log = HeldAdder(), BulkHeld(partitions=1)
    (urgent,), filling = live(0), bulk(1, 2)
    held = {job.id.encode() for job in filling}
    async with small_worker(model, log=log) as worker:
        await filled(model, worker, urgent, *filling)
        draining = [asyncio.create_task(lane.drain(at)) for lane, at in ((worker.live, LIVE_0), (worker.bulk, BULK_0))]
        await asyncio.wait(draining, timeout=0)
        assert not any(task.done() for task in draining)
        model.let_go()
        await draining[0]
        assert ends(worker, [urgent]) == ["succeeded"]
        assert not draining[1].done()
        log.acknowledging.set()
        await draining[1]
        assert ends(worker, filling) == ["succeeded", "succeeded"]


@pytest.mark.parametrize("lane", ["live", "bulk"])
async def test_what_runs_while_the_partitions_of_one_lane_come_and_go_ends_once(lane: str) -> None:
    model = HeldAdder()
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2)]
        first = await filled(model, worker, *jobs)
        await eventually(lambda: len(worker.ends()) == 4)
        moving = worker.live if lane == "live" else worker.bulk
        consumer, at = worker.consumers[moving], LIVE_0 if lane == "live" else BULK_0
        before = consumer.open_count
        consumer.lose_all()
        consumer.receive(at)
        await eventually(lambda: consumer.open_count == before)
        model.let_go()
        await eventually(lambda: worker.ended([*first, *jobs]) and worker.open_count == 0)
    assert model.batches[1:] == [[0, 1, 2]]


class Choking(HeldAdder):
    """Chokes once it is let go."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        poison, self.poison = self.poison, frozenset()
        outputs = super().run(inputs, parameters)
        self.poison = poison
        if poison.intersection(self.batches[-1]):
            raise self.choke()
        return outputs


@pytest.mark.parametrize("culprit", [0, 2], ids=["live", "bulk"])
async def test_only_the_culprit_of_a_failed_run_fails_whichever_lane_it_is_of(culprit: int) -> None:
    model = Choking()
    model.poison = frozenset([culprit])
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2, 3)]
        await filled(model, worker, *jobs)
        model.let_go(10)
        await eventually(lambda: len(worker.ends()) == 8 and worker.open_count == 0)
        expected = ["succeeded"] * 4
        expected[culprit] = "inference_failed"
        assert ends(worker, jobs) == expected
    # The live job ran alone right after the run that failed: it does not wait for the culprit to be found
    assert model.batches[2] == [0]
    assert not any(0 in batch for batch in model.batches[3:])


async def test_what_was_over_before_a_run_that_falls_apart_ends_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    model, starts = Choking(), MemoryStarts()
    model.poison = frozenset([2])
    async with small_worker(model, starts=starts) as worker:
        jobs = [*live(0), *bulk(1, 2, 3)]
        await formed(model, worker, monkeypatch, *jobs)
        worker.canceled.add(key(jobs[3]))
        model.let_go(10)
        await eventually(lambda: len(worker.ends()) == 8 and worker.open_count == 0 and not starts.counts)
        assert ends(worker, jobs) == ["succeeded", "succeeded", "inference_failed", "canceled"]
        assert model.batches[1:3] == [[0, 1, 2], [0]]
        assert not worker.live._taken
        assert not worker.bulk._taken


async def test_where_bulk_has_failed_nothing_is_filled_for_a_while() -> None:
    model = Choking()
    model.poison = frozenset([1])
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1)]
        await filled(model, worker, *jobs)
        model.let_go(3)
        await eventually(lambda: len(worker.ends()) == 6)
        (urgent,), more = live(5), bulk(6)
        await worker.submit(urgent, *more)
        model.let_go(2)
        await eventually(lambda: len(worker.ends()) == 8)
    assert sorted(model.batches[4:]) == [[5], [6]]


async def test_what_is_to_be_tried_again_later_is_the_culprits_own_lane() -> None:
    model = Choking()
    model.poison, model.choke = frozenset([2.0]), lambda: TransientFailure("not now")
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2)]
        await filled(model, worker, *jobs)
        model.let_go(10)
        await eventually(lambda: len(worker.ends()) == 7)
        assert ends(worker, jobs[:1]) == ["succeeded"]
        assert ends(worker, jobs[2:]) == ["transient_failure"]


async def test_what_fell_apart_is_finished_when_the_worker_is_told_to_stop() -> None:
    model, starts = Choking(), MemoryStarts()
    model.poison = frozenset([2])
    async with small_worker(model, starts=starts) as worker:
        jobs = [*live(0), *bulk(1, 2, 3)]
        await filled(model, worker, *jobs)
        model.let_go()
        await eventually(lambda: len(model.batches) == 3)
        worker.loop.cancel()
        draining = [asyncio.create_task(lane.drain(frozenset())) for lane in (worker.live, worker.bulk)]
        model.let_go(10)
        await asyncio.gather(*draining)
        await eventually(lambda: not starts.counts)
        assert ends(worker, jobs) == ["succeeded", "succeeded", "inference_failed", "succeeded"]


async def test_jobs_that_are_over_when_their_run_falls_apart_cost_no_other_run() -> None:
    model = Choking()
    model.poison = frozenset([3])
    async with small_worker(model) as worker:
        jobs = [*live(0), *bulk(1, 2, 3)]
        await filled(model, worker, *jobs)
        worker.canceled.update(map(key, jobs))
        model.let_go()
        await eventually(lambda: worker.open_count == 0)
        assert ends(worker, jobs) == ["canceled"] * 4
    assert len(model.batches) == 2


async def test_a_device_that_fails_leaves_the_jobs_of_both_lanes_open_and_counted() -> None:
    model, starts = Choking(), MemoryStarts()
    model.poison, model.choke = frozenset([2.0]), lambda: DeviceFailed("CUDA error: unknown error")
    async with small_worker(model, starts=starts, fails=True) as worker:
        jobs = [*live(0), *bulk(1, 2)]
        await filled(model, worker, *jobs)
        await eventually(lambda: len(worker.ends()) == 4)
        model.let_go()
        with pytest.raises(DeviceFailed):
            await worker.loop_ended()
        assert worker.open_count == 3
        assert starts.counts.keys() >= set(map(key, jobs))
        assert not worker.live._taken
        assert not worker.bulk._taken
