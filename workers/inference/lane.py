"""One lane as this worker serves it: its consumer, what waits for the next micro-batch, and what runs."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.jobs import Terminal
from schemas.topics import Lane
from workers.consuming.offsets import Partition
from workers.consuming.seams import Consumer, Record
from workers.inference import metrics
from workers.inference.batcher import Batcher
from workers.inference.ends import Ends
from workers.inference.intake import Dead, Ended, Intake
from workers.inference.item import Item
from workers.inference.outcomes import ended
from workers.inference.runner import Runner
from workers.inference.scheduler import Candidate

log = get_logger(__name__)

FETCH_TIMEOUT_S: Final = 0.5
FETCH_RECORDS: Final = 512
# Chunks above this are decoded in a thread, so that a large tensor does not hold up the loop's heartbeats.
INLINE_DECODE_BYTES: Final = 256 * 1024


class ServedLane:
    """Fetches, decodes and queues. `wake` is called when there may be a micro-batch to run."""

    def __init__(
        self,
        lane: Lane,
        runner: Runner,
        intake: Intake,
        batcher: Batcher[Item],
        ends: Ends,
        *,
        group: str,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.lane = lane
        self.runner = runner
        self.intake = intake
        self.ends = ends
        self._labels = labels = {"model": lane.model, "version": lane.version, "lane": str(lane.cls)}
        self._batcher = batcher
        self._group = group
        self._wake = wake
        self._clock = clock
        self._changed = asyncio.Event()
        self._running = 0
        self.stage_seconds = {stage: metrics.STAGE_SECONDS.labels(**labels, stage=stage) for stage in metrics.STAGES}
        self.rows_total = metrics.ROWS.labels(**labels)
        self.batch_rows = metrics.BATCH_ROWS.labels(**labels)
        self.wait_seconds = metrics.WAIT_SECONDS.labels(**labels)
        self._queued_rows = metrics.QUEUED_ROWS.labels(**labels)
        self._dead_letters = metrics.DEAD_LETTERS.labels(**labels)

    async def feed(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Fetch while there is room, until stopped. Not polling is the brake."""
        while not stop.is_set():
            room = self._batcher.room
            if room == 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            records = await consumer.fetch(min(room, FETCH_RECORDS), FETCH_TIMEOUT_S)
            if records:
                await self._take_in(consumer, records)

    async def _take_in(self, consumer: Consumer, records: Sequence[Record]) -> None:
        started = time.perf_counter()
        now = self._clock()
        if sum(len(record.value or b"") for record in records) <= INLINE_DECODE_BYTES:
            read = [self.intake.read(record, now) for record in records]
        else:
            read = await asyncio.to_thread(lambda: [self.intake.read(record, now) for record in records])
        self.stage_seconds["decode"].observe(time.perf_counter() - started)
        arrived = time.monotonic()
        over: list[tuple[Record, Terminal]] = []
        for each in read:
            if isinstance(each, Item):
                self._batcher.add(each, arrived)
            elif isinstance(each, Ended):
                over.append((each.record, ended(each.job, each.error, now)))
            else:
                await self._bury(consumer, each)
        self._queued_rows.set(self._batcher.rows)
        self._wake()
        if over:
            await self.end(consumer, over)

    async def _bury(self, consumer: Consumer, dead: Dead) -> None:
        log.warning("undecodable record", lane=str(self.lane), offset=dead.record.offset, error=dead.error.message)
        self._dead_letters.inc()
        await self.ends.bury(consumer, self._group, dead)

    async def end(self, consumer: Consumer, over: Sequence[tuple[Record, Terminal]]) -> None:
        """Publish terminal records and mark their records done."""
        counts = Counter(terminal.error.code if terminal.error else "succeeded" for _, terminal in over)
        for outcome, count in counts.items():
            metrics.JOBS.labels(**self._labels, outcome=outcome).inc(count)
        await self.ends.finish(consumer, [record for record, _ in over], [terminal for _, terminal in over])

    def candidate(self) -> "Candidate[ServedLane] | None":
        due_at = self._batcher.due_at()
        return None if due_at is None else Candidate(self, self.lane.cls, due_at)

    def take(self) -> list[Item]:
        """Close a micro-batch. Its items count as running until `ran`."""
        items = self._batcher.take()
        self._running += len(items)
        self._queued_rows.set(self._batcher.rows)
        self._changed.set()
        return items

    def ran(self, items: Sequence[Item]) -> None:
        """The items' ends are published, or their records are lost to another member."""
        self._running -= len(items)
        self._changed.set()

    async def drain(self, partitions: frozenset[Partition]) -> None:
        """Forget what waits from these partitions and return when nothing runs any more."""
        self._batcher.drop(lambda item: (item.record.topic, item.record.partition) in partitions)
        self._changed.set()
        while self._running:
            self._changed.clear()
            await self._changed.wait()
