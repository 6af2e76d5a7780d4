"""The worker's loop: close a micro-batch, count and stack it while the one before runs, run it off the loop, publish
its ends.

At most one micro-batch runs, and at most one more is closed and stacked behind it, which live ones may overtake if it
is bulk: priority ends where a buffer begins. Publishing overlaps with the next run, within bounds.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import ModelCrashed, StoreUnavailable
from schemas.jobs import end_of
from schemas.tensors import Array
from schemas.topics import LaneClass
from stores.seams import JobKey, Signals, Starts
from workers.consuming.seams import Consumer, Record
from workers.inference.backends.watchdog import RUNNING_JOBS
from workers.inference.batching.pending_job import PendingJob
from workers.inference.engine.completion import ends_of, publish
from workers.inference.engine.crash_guard import MOST_STARTS, CrashGuard
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.engine.lane import ServedLane
from workers.inference.engine.prepare import Closed, close
from workers.inference.engine.scheduler import Candidate, Scheduler
from workers.inference.execution.runner import Ran
from workers.inference.results.outcomes import DeadLettered, Outcome

log = get_logger(__name__)

# A job that has been in the model for this long is shown as running; quicker ones go from queued to their end.
ANNOUNCE_RUNNING_AFTER_S: Final = 0.25
PUBLISHING_BATCHES: Final = 4

Over = list[tuple[Record, Outcome]]


class Engine:
    """Runs the micro-batches of all lanes on one device, one at a time."""

    def __init__(
        self,
        lanes: Mapping[ServedLane, Consumer],
        thread: InferenceThread,
        signals: Signals,
        starts: Starts,
        clock: Clock,
        *,
        announce_after_s: float = ANNOUNCE_RUNNING_AFTER_S,
    ) -> None:
        self._lanes = lanes
        self._thread = thread
        self._signals = signals
        self._counts = CrashGuard(starts)
        self._clock = clock
        self._announce_after_s = announce_after_s
        self._scheduler: Scheduler[ServedLane] = Scheduler()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._publishing = asyncio.Semaphore(PUBLISHING_BATCHES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._announcing: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Run micro-batches until canceled; those that have begun go on, and their lanes' `drain` waits for them.

        Raises what a micro-batch met that no model, client or broker can cause: the process must end, and its
        records come again.
        """
        while True:
            await self._publishing.acquire()  # first, so that nothing is closed while nothing can be published
            closed = await close(await self._next(), self._counts)
            try:
                await self._turn_of(closed)
            except asyncio.CancelledError:
                self._counts.forget(closed.counted)
                raise
            self._begin(closed)

    async def abandon(self) -> None:
        """Forget what still runs or is being published: its records stay open, and come again elsewhere."""
        left = [*self._tasks, *self._announcing]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._counts.close()

    async def _next(self) -> ServedLane:
        loop = asyncio.get_running_loop()
        while True:
            if self._failure is not None:
                raise self._failure
            candidates = self._candidates()
            busy = not self._idle.is_set()
            now = time.monotonic()
            lane = self._scheduler.choose(candidates, now, busy=busy)
            if lane is not None:
                return lane
            self._woken.clear()
            due_at = None if busy else self._scheduler.next_due(candidates)
            timer = loop.call_later(due_at - now, self._woken.set) if due_at is not None else None
            await self._woken.wait()
            if timer is not None:
                timer.cancel()

    async def _turn_of(self, closed: Closed) -> None:
        """Return when the device is idle, and nothing goes before this one."""
        await self._idle.wait()
        while closed.lane.lane.cls is LaneClass.BULK and (live := self._overtaking()) is not None:
            await self._publishing.acquire()
            self._begin(await close(live, self._counts))
            await self._idle.wait()

    def _overtaking(self) -> ServedLane | None:
        return self._scheduler.overtake(self._candidates(), time.monotonic())

    def _candidates(self) -> list[Candidate[ServedLane]]:
        return [each for lane in self._lanes if (each := lane.candidate()) is not None]

    def _begin(self, closed: Closed) -> None:
        """Start what is left of the micro-batch: some of its items may be over by now, or another member's."""
        lane, counted, stacked = closed
        items = lane.start()
        now = self._clock()
        live, over = self._without_dead(lane, items, now)
        lane.device_time.spared(sum(item.rows for item in items) - sum(item.rows for item in live))
        if len(live) != len(counted):
            stacked = None
            started = set(map(id, live))
            self._counts.forget([item for item in counted if id(item) not in started])
        if lane.closed_alone and live:
            work = self._see_through_alone(lane, live[0], now)
        else:
            work = self._see_through(lane, live, over, stacked, now)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._seen_through, lane, items))
        if live:
            self._idle.clear()

    def _seen_through(self, lane: ServedLane, items: Sequence[PendingJob], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._publishing.release()
        lane.ran(items)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = failure
            self._woken.set()

    @staticmethod
    def _without_dead(lane: ServedLane, items: Sequence[PendingJob], now: datetime) -> tuple[list[PendingJob], Over]:
        """The items that may still cost something, and the ends of the others."""
        live: list[PendingJob] = []
        over: Over = []
        for item in items:
            error = lane.intake.ended(item.job, now)
            if error is None:
                live.append(item)
            else:
                over.append((item.record, end_of(item.job, error, now, rows=item.rows)))
        return live, over

    async def _see_through_alone(self, lane: ServedLane, item: PendingJob, started_at: datetime) -> None:
        """Run an item that was started before and never ended, unless that was too often.

        It is counted no sooner than it starts, and has ended and is forgotten before anything else starts: nothing but
        what it does itself is held against it. One that is given up stays counted: its record may come again, when
        another of its partition ends the worker, and must not begin anew.
        """
        try:
            if await self._counts.earlier_alone(item) >= MOST_STARTS:
                await lane.end(self._lanes[lane], [self._given_up(item)])
            else:
                await self._finish(lane, [item], started_at, await self._run(lane, [item], None, started_at))
                await self._counts.forget_now([item])
        finally:
            self._set_idle()

    async def _see_through(
        self,
        lane: ServedLane,
        live: list[PendingJob],
        over: Over,
        stacked: dict[str, Array] | None,
        started_at: datetime,
    ) -> None:
        running = self._run(lane, live, stacked, started_at) if live else None
        if running is not None:
            running.add_done_callback(lambda _: self._set_idle())
        if over:
            await lane.end(self._lanes[lane], over)
        if running is not None:
            await self._finish(lane, live, started_at, await running)
            self._counts.forget(live)

    async def _finish(self, lane: ServedLane, items: list[PendingJob], started_at: datetime, ran: Ran) -> None:
        completed_at = self._clock()
        ends = ends_of(lane, items, ran.outcomes, completed_at)
        self._observe(lane, items, started_at, ran)
        lane.device_time.ended(ran.account, items, ran.outcomes, ends)
        await publish(lane, self._lanes[lane], items, ends, started_at, completed_at)

    def _run(
        self, lane: ServedLane, items: list[PendingJob], stacked: dict[str, Array] | None, started_at: datetime
    ) -> "asyncio.Future[Ran]":
        late = asyncio.get_running_loop().call_later(self._announce_after_s, self._announce_running, items, started_at)
        RUNNING_JOBS.set([item.job.id for item in items])
        submitted = time.perf_counter()
        running = self._thread.submit(lambda: lane.runner.run(items, stacked))

        def over(ran: "asyncio.Future[Ran]") -> None:
            late.cancel()
            if not ran.cancelled() and ran.exception() is None:
                lane.device_time.ran(ran.result().account, time.perf_counter() - submitted)

        running.add_done_callback(over)
        return running

    def _set_idle(self) -> None:
        self._idle.set()
        self._woken.set()

    def _given_up(self, item: PendingJob) -> tuple[Record, Outcome]:
        log.error("a job is given up: none of its starts ever ended", job=item.job.id, starts=MOST_STARTS)
        told = f"the job was started {MOST_STARTS} times, and each time the worker ended before the job did"
        error = ModelCrashed(told)
        end = end_of(item.job, error, self._clock(), rows=item.rows)
        return item.record, DeadLettered(end, error, MOST_STARTS)

    def _announce_running(self, items: Sequence[PendingJob], started_at: datetime) -> None:
        task = asyncio.create_task(self._try_announcing([item.key for item in items], started_at))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def _try_announcing(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        try:
            await self._signals.announce_running(keys, started_at)
        except StoreUnavailable as error:
            log.info("jobs could not be announced as running", jobs=len(keys), error=error.message)

    @staticmethod
    def _observe(lane: ServedLane, items: Sequence[PendingJob], started_at: datetime, ran: Ran) -> None:
        rows = sum(item.rows for item in items)
        lane.rows_total.inc(rows)
        lane.batch_rows.observe(rows)
        lane.real_cost.inc(ran.account.real_cost)
        lane.padding_cost.inc(ran.account.padding_cost)
        lane.stage_seconds["infer"].observe(ran.account.model_s)
        lane.wait_seconds.observe(max(0.0, started_at.timestamp() - items[0].record.timestamp_ms / 1000))
