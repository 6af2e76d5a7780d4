"""The worker's loop: close a micro-batch, stack it while the one before runs, run it off the loop, publish its ends.

At most one micro-batch runs, and at most one more is closed and stacked behind it: priority ends where a buffer
begins. Publishing overlaps with the next run, within bounds.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import PenstockError, StoreUnavailable
from schemas.jobs import Terminal
from schemas.tensors import Array
from stores.seams import JobKey, Signals
from workers.consuming.seams import Consumer, Record
from workers.inference.collate import same_shape, stack
from workers.inference.item import Item, Outcome
from workers.inference.lane import ServedLane
from workers.inference.outcomes import ended, terminal
from workers.inference.runner import Ran
from workers.inference.scheduler import Scheduler

log = get_logger(__name__)

# A job that has been in the model for this long is shown as running; quicker ones go from queued to their end.
ANNOUNCE_RUNNING_AFTER_S: Final = 0.25
PUBLISHING_BATCHES: Final = 4
# Outputs above this are encoded in a thread: the loop carries the heartbeats.
INLINE_ENCODE_BYTES: Final = 1024 * 1024


class Pipeline:
    """Runs the micro-batches of all lanes on one device, one at a time."""

    def __init__(self, lanes: Mapping[ServedLane, Consumer], signals: Signals, clock: Clock) -> None:
        self._lanes = lanes
        self._signals = signals
        self._clock = clock
        self._scheduler: Scheduler[ServedLane] = Scheduler()
        self._woken = asyncio.Event()
        self._device = asyncio.Semaphore(1)
        self._publishing = asyncio.Semaphore(PUBLISHING_BATCHES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._announcing: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Run micro-batches until canceled; those that have begun are finished by `settle`.

        Raises what a micro-batch met that no model, client or broker can cause: the process must end, and its
        records come again.
        """
        while True:
            lane = await self._next_due()
            items = lane.take()
            try:
                live = await self._without_dead(lane, items)
                stacked = self._stacked(lane, live)
                await self._publishing.acquire()
                await self._device.acquire()
            except BaseException:
                lane.ran(items)
                raise
            self._begin(lane, items, live, stacked)

    async def settle(self) -> None:
        """Wait for the micro-batches that have begun."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._thread.shutdown(wait=False)

    async def _next_due(self) -> ServedLane:
        loop = asyncio.get_running_loop()
        while True:
            if self._failure is not None:
                raise self._failure
            candidates = [each for lane in self._lanes if (each := lane.candidate()) is not None]
            now = time.monotonic()
            lane = self._scheduler.choose(candidates, now)
            if lane is not None:
                return lane
            self._woken.clear()
            due_at = self._scheduler.next_due(candidates)
            timer = loop.call_later(due_at - now, self._woken.set) if due_at is not None else None
            await self._woken.wait()
            if timer is not None:
                timer.cancel()

    async def _without_dead(self, lane: ServedLane, items: Sequence[Item]) -> list[Item]:
        """The items that may still cost something; the others are ended."""
        now = self._clock()
        verdicts = [(item, lane.intake.ended(item.job, now)) for item in items]
        over = [(item.record, ended(item.job, error, now, rows=item.rows)) for item, error in verdicts if error]
        if over:
            await lane.end(self._lanes[lane], over)
        return [item for item, error in verdicts if error is None]

    def _stacked(self, lane: ServedLane, items: Sequence[Item]) -> dict[str, Array] | None:
        """The items' rows, stacked ahead of the run; None where their shapes differ, which the runner sorts out."""
        if len(same_shape(items)) != 1:
            return None
        started = time.perf_counter()
        stacked = stack(lane.runner.signature, items)
        lane.stage_seconds["collate"].observe(time.perf_counter() - started)
        return stacked

    def _begin(self, lane: ServedLane, items: list[Item], live: list[Item], stacked: dict[str, Array] | None) -> None:
        task = asyncio.create_task(self._run_batch(lane, live, stacked))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._publishing.release()
            lane.ran(items)
            if not task.cancelled() and task.exception() is not None:
                self._failure = task.exception()
                self._woken.set()

        task.add_done_callback(over)

    async def _run_batch(self, lane: ServedLane, items: list[Item], stacked: dict[str, Array] | None) -> None:
        if not items:  # all of them were over before they could run
            self._device.release()
            return
        loop = asyncio.get_running_loop()
        started_at = self._clock()
        late = loop.call_later(ANNOUNCE_RUNNING_AFTER_S, self._announce_running, items, started_at)
        try:
            ran = await loop.run_in_executor(self._thread, lane.runner.run, items, stacked)
        finally:
            late.cancel()
            self._device.release()
        self._observe(lane, items, started_at, ran)
        await self._publish(lane, items, ran.outcomes, started_at)

    async def _publish(
        self, lane: ServedLane, items: Sequence[Item], outcomes: Sequence[Outcome], started_at: datetime
    ) -> None:
        started = time.perf_counter()
        if sum(_bytes(outcome) for outcome in outcomes) <= INLINE_ENCODE_BYTES:
            over = self._encode(lane, items, outcomes, started_at)
        else:
            over = await asyncio.to_thread(self._encode, lane, items, outcomes, started_at)
        encoded = time.perf_counter()
        await lane.end(self._lanes[lane], over)
        lane.stage_seconds["encode"].observe(encoded - started)
        lane.stage_seconds["publish"].observe(time.perf_counter() - encoded)

    def _encode(
        self, lane: ServedLane, items: Sequence[Item], outcomes: Sequence[Outcome], started_at: datetime
    ) -> list[tuple[Record, Terminal]]:
        now = self._clock()
        signature = lane.runner.signature
        return [
            (item.record, terminal(signature, item, lane.intake.ended(item.job, now) or outcome, started_at, now))
            for item, outcome in zip(items, outcomes, strict=True)
        ]

    def _announce_running(self, items: Sequence[Item], started_at: datetime) -> None:
        task = asyncio.create_task(self._try_announcing([item.key for item in items], started_at))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def _try_announcing(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        try:
            await self._signals.announce_running(keys, started_at)
        except StoreUnavailable as error:
            log.info("jobs could not be announced as running", jobs=len(keys), error=error.message)

    @staticmethod
    def _observe(lane: ServedLane, items: Sequence[Item], started_at: datetime, ran: Ran) -> None:
        rows = sum(item.rows for item in items)
        lane.rows_total.inc(rows)
        lane.batch_rows.observe(rows)
        lane.stage_seconds["infer"].observe(ran.model_s)
        lane.wait_seconds.observe(max(0.0, started_at.timestamp() - items[0].record.timestamp_ms / 1000))


def _bytes(outcome: Outcome) -> int:
    return 0 if isinstance(outcome, PenstockError) else sum(array.nbytes for array in outcome.values())
