"""One lane as this worker serves it: what is fetched and decoded, what waits for the next micro-batch, what runs."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypeVar

from runtime.budget import MemoryBudget
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import Canceled, DeadlineExceeded
from schemas.topics import Lane
from workers.consuming.adoption import Adoptions
from workers.consuming.kafka_consumer import DRAIN_LIMIT_S
from workers.consuming.offsets import Partition
from workers.consuming.seams import Consumer, Record
from workers.inference import metrics
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.memory import FetchBrake
from workers.inference.decoding.record_decoder import Decoded, Ended, RecordDecoder, UndecodableRecord
from workers.inference.engine.accounting import DeviceAccounting
from workers.inference.engine.scheduler import Candidate
from workers.inference.execution.runner import Runner
from workers.inference.results.outcomes import Outcome, failed
from workers.inference.results.publisher import ResultPublisher

log = get_logger(__name__)

FETCH_TIMEOUT_S: Final = 0.5
# Room in memory may be made by any lane.
LOOK_FOR_ROOM_S: Final = 0.05

T = TypeVar("T")


class ServedLane:
    """Fetches, decodes and queues. `wake` is called when there may be a micro-batch to run.

    A job is waiting, then closed into a micro-batch, then running until its end is published. What has not begun to
    run when its partition is lost is forgotten: it comes again, here or elsewhere. What runs and comes again is not
    run again.

    `sizer` is the version's, and learns from what runs. `run_limit_s` is how long one run may take.
    """

    def __init__(
        self,
        lane: Lane,
        runner: Runner,
        intake: RecordDecoder,
        batcher: Batcher[PendingJob],
        sizer: BatchSizeTuner,
        ends: ResultPublisher,
        *,
        group: str,
        wake: Callable[[], None],
        clock: Clock,
        memory: MemoryBudget,
        retry_delays_s: Sequence[float] = (),
        run_limit_s: float | None = None,
    ) -> None:
        self.lane = lane
        self.runner = runner
        self.intake = intake
        self.retry_delays_s = retry_delays_s
        self.drain_limit_s = DRAIN_LIMIT_S + (run_limit_s or 0.0)
        self._batcher = batcher
        self._ends = ends
        self._group = group
        self._wake = wake
        self._clock = clock
        self._closed: list[PendingJob] = []
        self._apart: deque[PendingJob] = deque()
        self.closed_alone = False
        self._running: list[PendingJob] = []
        self._adoptions = Adoptions()
        self._afresh: list[Record] = []
        self._under_way: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._brake = FetchBrake(memory, lane.cls)
        self._labels = labels = {"model": lane.model, "version": lane.version, "lane": str(lane.cls)}
        self.device_time = DeviceAccounting(labels, sizer)
        self.stage_seconds = {stage: metrics.STAGE_SECONDS.labels(**labels, stage=stage) for stage in metrics.STAGES}
        self.rows_total = metrics.ROWS.labels(**labels)
        self.real_cost = metrics.COST.labels(**labels, kind="real")
        self.padding_cost = metrics.COST.labels(**labels, kind="padding")
        self.batch_rows = metrics.BATCH_ROWS.labels(**labels)
        self.wait_seconds = metrics.WAIT_SECONDS.labels(**labels)
        self._queued_rows = metrics.QUEUED_ROWS.labels(**labels)
        self._dead_letters = metrics.DEAD_LETTERS.labels(**labels)

    async def feed(self, consumer: Consumer) -> None:
        """Fetch while there is room, until canceled. Not polling is the brake."""
        while True:
            while not (wanted := self._brake.records(self._batcher.room)):
                await self._change_or(LOOK_FOR_ROOM_S)
            records = await consumer.fetch(wanted, FETCH_TIMEOUT_S)
            afresh, self._afresh = self._afresh, []
            new = [*afresh, *(record for record in records if not self._adoptions.adopt(record))]
            if new:
                await self._take_in(consumer, new)

    async def _take_in(self, consumer: Consumer, records: Sequence[Record]) -> None:
        if sum(len(record.value or b"") for record in records) <= self.intake.inline_bytes:
            over, dead = self._queue(self._decode(records, self._clock()))
        else:
            over, dead = await self._see_through(self._take_in_large(records))
        if over or dead:
            await self._see_through(self._end_all(consumer, over, dead))

    async def _take_in_large(self, records: Sequence[Record]) -> tuple[list[Ended], list[UndecodableRecord]]:
        return self._queue(await asyncio.to_thread(self._decode, records, self._clock()))

    def _decode(self, records: Sequence[Record], now: datetime) -> list[Decoded]:
        started = time.perf_counter()
        read = self.intake.read_all(records, now)
        self.stage_seconds["decode"].observe(time.perf_counter() - started)
        return read

    def _queue(self, read: Sequence[Decoded]) -> tuple[list[Ended], list[UndecodableRecord]]:
        """Let the jobs among what was read wait for their micro-batch; returns the others."""
        items = [each for each in read if isinstance(each, PendingJob)]
        if items:
            self._brake.fetched(items)
            arrived, now = time.monotonic(), self._clock()
            for item in items:
                self._batcher.add(item, arrived, arrived + (item.job.expires_at - now).total_seconds())
            self._count_waiting()
            self._wake()
        if len(items) == len(read):
            return [], []
        ended = [each for each in read if isinstance(each, Ended)]
        return ended, [each for each in read if isinstance(each, UndecodableRecord)]

    async def _end_all(self, consumer: Consumer, over: Sequence[Ended], dead: Sequence[UndecodableRecord]) -> None:
        if over:
            now = self._clock()
            in_time = sum(isinstance(each.error, Canceled | DeadlineExceeded) for each in over)
            self.device_time.spared(in_time * self._brake.rows_a_record)
            ends = [(each.record, failed(each.job, each.error, now, self.retry_delays_s)) for each in over]
            await self.end(consumer, ends)
        if dead:
            log.warning("undecodable records", lane=str(self.lane), records=len(dead), first=dead[0].error.message)
            self._dead_letters.inc(len(dead))
            await self._ends.bury(consumer, self._group, dead)

    async def _see_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if the caller is canceled; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._seen_through)
        return await asyncio.shield(task)

    def _seen_through(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._changed.set()

    async def end(self, consumer: Consumer, over: Sequence[tuple[Record, Outcome]]) -> None:
        """Publish what became of records, and mark them done."""
        seen = self._adoptions.seen_through(consumer)
        metrics.count(self._labels, await self._ends.finish(seen, self._group, over))

    def candidate(self) -> "Candidate[ServedLane] | None":
        if self._apart:
            return Candidate(self, self.lane.cls, 0.0, full=True)
        due_at = self._batcher.due_at()
        return None if due_at is None else Candidate(self, self.lane.cls, due_at, self._batcher.full)

    def close(self) -> list[PendingJob]:
        """Close a micro-batch. Only one is closed at a time: the next after `start`."""
        self.closed_alone = bool(self._apart)
        self._closed = [self._apart.popleft()] if self._apart else self._batcher.take()
        self._count_waiting()
        self._changed.set()
        return self._closed

    def set_apart(self, items: Sequence[PendingJob]) -> None:
        """Let each of these items of the closed micro-batch make one of its own, before all others."""
        apart = set(map(id, items))
        self._apart.extend(item for item in self._closed if id(item) in apart)
        self._closed = [item for item in self._closed if id(item) not in apart]

    def start(self) -> list[PendingJob]:
        """The items of the closed micro-batch that are still ours. They count as running until `ran`."""
        items, self._closed = self._closed, []
        self._running += items
        self._adoptions.begin([item.record for item in items])
        return items

    def ran(self, items: Sequence[PendingJob]) -> None:
        """The items' ends are published, or will never be by us."""
        over = set(map(id, items))
        self._running = [item for item in self._running if id(item) not in over]
        self._count_waiting()
        self._afresh += self._adoptions.over([item.record for item in items])
        self._changed.set()

    async def drain(self, partitions: frozenset[Partition]) -> None:
        """Forget what has not begun to run of these partitions, and return when nothing runs any more."""

        self._forget(partitions)
        while self._running or self._under_way:
            await self._change()
            self._forget(partitions)  # what was being decoded

    def _forget(self, partitions: frozenset[Partition]) -> None:
        def gone(record: Record) -> bool:
            return (record.topic, record.partition) in partitions

        def lost(item: PendingJob) -> bool:
            return gone(item.record)

        if self._batcher.drop(lost):
            self._changed.set()
        self._closed = [item for item in self._closed if not lost(item)]
        self._apart = deque(item for item in self._apart if not lost(item))
        self._afresh = [record for record in self._afresh if not gone(record)]
        self._adoptions.lose(partitions)
        self._count_waiting()

    def _count_waiting(self) -> None:
        """Count anew what waits and what is held: always from what there is, so that nothing is forgotten."""
        self._queued_rows.set(self._batcher.rows)
        beside = (*self._closed, *self._apart, *self._running)
        self._brake.holds(self._batcher.held_bytes + sum([item.held_bytes for item in beside]))

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _change_or(self, after_s: float) -> None:
        """Return when something has changed here, or after so long: it may have elsewhere."""
        with suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await self._change()
