"""One lane as this worker serves it: what is fetched and decoded, what waits for the next micro-batch, what runs."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from producers.holds import Holds
from runtime.budget import MemoryBudget
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import Canceled, DeadlineExceeded, PenstockError
from schemas.holds import Hold
from schemas.records import is_copy
from schemas.routes import Choice
from schemas.topics import Lane, LaneClass
from stores.blobs import Blobs
from workers.consuming.kafka_consumer import DRAIN_LIMIT_S
from workers.consuming.offsets import Partition
from workers.consuming.protocols import Consumer, Record
from workers.consuming.redelivery import Redeliveries
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.batching.pending_job import JobState, PendingJob, RunResult
from workers.inference.counting.tally import Tally
from workers.inference.decoding.memory import FetchBrake
from workers.inference.decoding.record_decoder import Claimed, Decoded, Ended, Moving, RecordDecoder, UndecodableRecord
from workers.inference.engine.accounting import DeviceAccounting
from workers.inference.engine.fetching import Fetching
from workers.inference.engine.lane_metrics import LaneMetrics
from workers.inference.execution.runner import Runner
from workers.inference.results.outcomes import CopyEnd, Outcome, failed, not_run
from workers.inference.results.publisher import ResultPublisher

log = get_logger(__name__)

FETCH_TIMEOUT_S: Final = 0.5
# Room in memory may be made by any lane.
LOOK_FOR_ROOM_S: Final = 0.05
# What is fetched at a time while jobs leave, as long as there is room for any that stay: these may be few, or all.
MOVING_ROWS: Final = 512

T = TypeVar("T")


class Copies(Protocol):
    """What becomes of copies that the lane runs, and of jobs of its that may be copied; `workers.inference.shadows`."""

    def ran(self, seconds: float) -> None:
        """Copies have kept the device for so long."""

    def over(self, ends: Sequence[CopyEnd]) -> None: ...

    def succeeded(self, jobs: Sequence[PendingJob], results: Sequence[RunResult], ends: Sequence[Outcome]) -> None:
        """The jobs have run and are told of; perhaps some of them have succeeded."""


class NoCopies:
    """Nothing is copied, and copies are for nobody."""

    def ran(self, seconds: float) -> None: ...

    def over(self, ends: Sequence[CopyEnd]) -> None: ...

    def succeeded(self, jobs: Sequence[PendingJob], results: Sequence[RunResult], ends: Sequence[Outcome]) -> None: ...


class ServedLane:
    """Fetches, decodes and queues. `wake` is called when there may be a micro-batch to run.

    What has not begun to run when its partition is lost is forgotten: it comes again, here or elsewhere. What runs and
    comes again is not run a second time.

    `sizer` is the version's, and learns from what runs. `run_limit_s` is how long one run may take. `guarded`: its jobs
    run in this process and may end it, so that their starts are counted.
    """

    def __init__(
        self,
        lane: Lane,
        runner: Runner,
        decoder: RecordDecoder,
        batcher: Batcher[PendingJob],
        sizer: BatchSizeTuner,
        publisher: ResultPublisher,
        *,
        group: str,
        wake: Callable[[], None],
        clock: Clock,
        memory: MemoryBudget,
        retry_delays_s: Sequence[float] = (),
        run_limit_s: float | None = None,
        guarded: bool = True,
        tally: Tally | None = None,
        copies: Copies | None = None,
        holds: Holds | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        self.lane = lane
        self.runner = runner
        self.retry_delays_s = retry_delays_s
        self.run_limit_s = run_limit_s
        self.guarded = guarded
        self.drain_limit_s = DRAIN_LIMIT_S + (run_limit_s or 0.0)
        self.metrics = LaneMetrics(lane, tally or Tally())
        self.copies = copies or NoCopies()
        self.device_time = DeviceAccounting(self.metrics.labels, sizer)
        self._decoder = decoder
        self._batcher = batcher
        self._publisher = publisher
        self._group = group
        self._wake = wake
        self._clock = clock
        self._suspects: deque[PendingJob] = deque()
        self._taken: set[PendingJob] = set()  # into micro-batches that are not completed
        self._held_bytes = 0  # by all that waits or is taken
        self._redeliveries = Redeliveries()
        self._afresh: list[Record] = []
        self._holds = holds or Holds()
        self._paused = False  # the lane is held as a whole: nothing of it is fetched, and nothing begins
        self._rerouted = False
        self._moving = False  # of what came last, some went to another version or were put aside
        self._under_way: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._brake = FetchBrake(memory, lane.cls)
        self._fetching = Fetching(blobs, self, self._read_fetched, self._take_fetched)

    async def feed(self, consumer: Consumer) -> None:
        """Fetch while there is room, until canceled. Not polling is the brake."""
        self.reroute()  # what has changed while the group was being joined
        while True:
            await self._move_waiting(consumer)
            wanted = self._wanted()
            if not wanted:
                await self._change_or(LOOK_FOR_ROOM_S)
                continue
            records = await consumer.fetch(wanted, FETCH_TIMEOUT_S)
            afresh, self._afresh = self._afresh, []
            new = [*afresh, *(record for record in records if not self._redeliveries.adopt(record))]
            if new:
                await self._take_in(consumer, new)

    def _wanted(self) -> int:
        """How many records may be fetched."""
        if self._paused or self._fetching.full:
            return 0
        room = self._batcher.room
        return self._brake.records(MOVING_ROWS if self._moving and room else room)

    def reroute(self) -> None:
        """A route or the holds have changed: what waits here may have to go elsewhere, or to stay."""
        self._paused = self._holds.now.pausing(self.lane) is not None
        self._rerouted = True
        self._changed.set()
        self._wake()

    async def _move_waiting(self, consumer: Consumer) -> None:
        """Give away what waits for its micro-batch. What is in one already is looked at when that begins."""
        if not self._rerouted:
            return
        self._rerouted, now = False, self._clock()
        gone: list[tuple[Record, Outcome]] = []

        def moves(job: PendingJob) -> bool:
            to = self._decoder.leaves(job.job)
            if to is not None:
                gone.append((job.record, not_run(job.job, to, now, rows=job.rows)))
            return to is not None

        if waiting := self._batcher.drop(moves):
            self._let_go(waiting)
            self._moving = True
            await self._see_through(self.publish(consumer, gone))

    async def _take_in(self, consumer: Consumer, records: Sequence[Record]) -> None:
        if sum(len(record.value or b"") for record in records) <= self._decoder.inline_bytes:
            over, dead = self._queue(consumer, self._decode(records, self._clock()))
        else:
            over, dead = await self._see_through(self._take_in_large(consumer, records))
        if over or dead:
            await self._see_through(self._end_all(consumer, over, dead))

    async def _take_in_large(
        self, consumer: Consumer, records: Sequence[Record]
    ) -> tuple[list[Ended | Moving], list[UndecodableRecord]]:
        return self._queue(consumer, await asyncio.to_thread(self._decode, records, self._clock()))

    def has_room(self, input_bytes: int) -> bool:
        """For an input that is to be fetched: beside what is held, or alone, since others may never make room."""
        return not self._held_bytes or self._brake.room_for(input_bytes)

    def held_changed(self) -> None:
        self._show()
        self._changed.set()

    async def wait_for_room(self) -> None:
        await self._change_or(LOOK_FOR_ROOM_S)

    def _read_fetched(self, claimed: Claimed, value: bytes) -> Decoded:
        started = time.perf_counter()
        read = self._decoder.read_fetched(claimed, value, self._clock())
        self.metrics.stage_seconds["decode"].observe(time.perf_counter() - started)
        return read

    async def _take_fetched(self, consumer: Consumer, read: Decoded) -> None:
        moving = self._moving
        over, dead = self._queue(consumer, [read], typical=False)
        self._moving = moving
        if over or dead:
            await self._see_through(self._end_all(consumer, over, dead))

    def _decode(self, records: Sequence[Record], now: datetime) -> list[Decoded]:
        started = time.perf_counter()
        read = self._decoder.read_all(records, now)
        self.metrics.stage_seconds["decode"].observe(time.perf_counter() - started)
        return read

    def _queue(
        self, consumer: Consumer, read: Sequence[Decoded], *, typical: bool = True
    ) -> tuple[list[Ended | Moving], list[UndecodableRecord]]:
        """Let the jobs among what was read wait for their micro-batch, and fetch inputs that lie in the blob store;
        returns the others. `typical`: further records may be as large."""
        jobs = [each for each in read if isinstance(each, PendingJob)]
        if jobs:
            if typical:
                self._brake.fetched(jobs)
            arrived, now = time.monotonic(), self._clock()
            for job in jobs:
                self._batcher.add(job, arrived, arrived + (job.job.expires_at - now).total_seconds())
                self._held_bytes += job.held_bytes
            self._show()
            self._wake()
        self._moving = False
        if len(jobs) == len(read):
            return [], []
        for each in read:
            if isinstance(each, Claimed):
                self._fetching.begin(consumer, each)
        over = [each for each in read if isinstance(each, Ended | Moving)]
        self._moving = any(isinstance(each, Moving) for each in over)
        return over, [each for each in read if isinstance(each, UndecodableRecord)]

    async def _end_all(
        self, consumer: Consumer, over: Sequence[Ended | Moving], dead: Sequence[UndecodableRecord]
    ) -> None:
        if over:
            errors = [each.error for each in over if isinstance(each, Ended)]
            in_time = sum(isinstance(error, Canceled | DeadlineExceeded) for error in errors)
            self.device_time.spared(in_time * self._brake.rows_a_record)
            now = self._clock()
            await self.publish(consumer, [(each.record, self._outcome_of(each, now)) for each in over])
        if dead:
            log.warning("undecodable records", lane=str(self.lane), records=len(dead), first=dead[0].error.message)
            self.metrics.buried(sum(not is_copy(each.record.headers) for each in dead))
            await self._publisher.bury(consumer, self._group, dead)

    def _outcome_of(self, over: Ended | Moving, now: datetime) -> Outcome:
        if isinstance(over, Moving):
            return not_run(over.job, over.to, now)
        return failed(over.job, over.error, now, self.retry_delays_s)

    async def _see_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if the caller is canceled; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._seen_through)
        return await asyncio.shield(task)

    def _seen_through(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._changed.set()

    async def publish(
        self, consumer: Consumer, outcomes: Sequence[tuple[Record, Outcome]], *, again: bool = False
    ) -> Sequence[Outcome]:
        """Publish what became of records, and mark them done. `again`: versions have been compared by them before.
        Returns what was published in the end."""
        seen = self._redeliveries.seen_through(consumer)
        published = await self._publisher.finish(seen, self._group, outcomes)
        self.metrics.ended(published, again=again)
        if self.lane.cls is LaneClass.BULK and (over := [each for each in published if isinstance(each, CopyEnd)]):
            self.copies.over(over)
        return published

    def over(self, job: PendingJob, now: datetime) -> PenstockError | None:
        """Why the job must not cost anything any more, or None."""
        return self._decoder.ended(job.key, job.job.expires_at, now)

    def not_run(self, job: PendingJob, now: datetime) -> PenstockError | Choice | Hold | None:
        """Why the job is not to begin here, or None: it is over, or it leaves."""
        return self._decoder.not_run(job.job, job.key, now)

    def due(self) -> tuple[float, bool] | None:
        """When the next micro-batch is to be formed (seconds), and whether it is full; None where nothing may be."""
        if self._paused:
            return None
        if self._suspects:
            return 0.0, True
        due_at = self._batcher.due_at()
        return None if due_at is None else (due_at, self._batcher.full)

    def form(self) -> tuple[list[PendingJob], bool]:
        """Take the jobs of the next micro-batch, and whether it is one that runs alone."""
        alone = bool(self._suspects)
        return self._take([self._suspects.popleft()] if alone else self._batcher.take()), alone

    def fill(self, jobs: Sequence[PendingJob], left_s: float) -> list[PendingJob]:
        """Take jobs that come along with a micro-batch of these, of the other lane, whose earliest deadline is
        in `left_s`. None while the lane is held, or the version has bad rows: it is about to fail, or is run in
        pieces."""
        may_fill = self.runner.bad_share.negligible and not self._paused
        filling = self._batcher.fill(jobs, left_s) if may_fill else []
        return self._take(filling) if filling else []

    def _take(self, jobs: list[PendingJob]) -> list[PendingJob]:
        for job in jobs:
            job.state = JobState.FORMED
        self._taken.update(jobs)
        self._show()
        self._changed.set()
        return jobs

    def set_apart(self, jobs: Sequence[PendingJob]) -> None:
        """Let each of these jobs of a micro-batch make one of its own, before all others."""
        self._taken.difference_update(jobs)
        for job in jobs:
            if job.state is JobState.FORMED:
                job.state = JobState.WAITING
                self._suspects.append(job)

    def begin(self, jobs: Sequence[PendingJob]) -> None:
        """The jobs run from now on, until they are released."""
        for job in jobs:
            job.state = JobState.RUNNING
        self._redeliveries.begin([job.record for job in jobs])

    def release(self, jobs: Sequence[PendingJob]) -> None:
        """The jobs' ends are published, or will never be by us."""
        self._let_go([job for job in jobs if job in self._taken])
        self._afresh += self._redeliveries.over([job.record for job in jobs])
        self._changed.set()

    @property
    def running(self) -> int:
        """Jobs in the model, or whose end is being published."""
        return sum(job.state is JobState.RUNNING for job in self._taken)

    async def drain(self, partitions: frozenset[Partition]) -> None:
        """Forget what has not begun to run of these partitions, and return when nothing runs any more."""
        self._forget(partitions)
        while self.running or self._under_way:
            await self._change()
            self._forget(partitions)  # what was being decoded

    def _forget(self, partitions: frozenset[Partition]) -> None:
        def gone(record: Record) -> bool:
            return (record.topic, record.partition) in partitions

        def lost(job: PendingJob) -> bool:
            return gone(job.record)

        self._fetching.forget(partitions)
        if waiting := self._batcher.drop(lost):
            self._changed.set()
        formed = [job for job in self._taken if job.state is JobState.FORMED and lost(job)]
        suspects = [job for job in self._suspects if lost(job)]
        self._suspects = deque(job for job in self._suspects if not lost(job))
        self._let_go([*waiting, *formed, *suspects])
        self._afresh = [record for record in self._afresh if not gone(record)]
        self._redeliveries.lose(partitions)

    def _let_go(self, jobs: Sequence[PendingJob]) -> None:
        """The jobs are held no longer."""
        for job in jobs:
            job.state = JobState.OVER
            self._held_bytes -= job.held_bytes
        self._taken.difference_update(jobs)
        self._show()

    def _show(self) -> None:
        self.metrics.queued_rows.set(self._batcher.rows)
        self._brake.holds(self._held_bytes + self._fetching.held_bytes)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _change_or(self, after_s: float) -> None:
        """Return when something has changed here, or after so long: it may have elsewhere."""
        timer = asyncio.get_running_loop().call_later(after_s, self._changed.set)
        try:
            await self._change()
        finally:
            timer.cancel()
