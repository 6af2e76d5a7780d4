"""The worker's loop: form a micro-batch, prepare it while the one before runs, execute it off the loop, complete it.

One run of the model is made at a time, and at most one more micro-batch is formed and prepared behind it, which live
ones may overtake if it is bulk: what is formed can no longer be chosen. Completing overlaps with the next run, within
bounds. A micro-batch of several runs (a large job, a failed one in pieces) is paused between them, and is then one of
those to be chosen among.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import ModelCrashed, StoreUnavailable
from schemas.jobs import end_of
from schemas.topics import LaneClass
from stores.protocols import JobKey, Signals, Starts
from workers.consuming.protocols import Consumer, Record
from workers.inference.backends.watchdog import RUNNING_JOBS
from workers.inference.batching.pending_job import PendingJob
from workers.inference.engine.completion import complete, complete_dead
from workers.inference.engine.crash_guard import MOST_STARTS, CrashGuard
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.engine.lane import ServedLane
from workers.inference.engine.micro_batch import BatchState, MicroBatch
from workers.inference.engine.prepare import prepare
from workers.inference.engine.scheduler import Candidate, Scheduler
from workers.inference.results.outcomes import DeadLettered, Outcome

log = get_logger(__name__)

# A job that has been in the model for this long is shown as running; quicker ones go from queued to their end.
ANNOUNCE_RUNNING_AFTER_S: Final = 0.25
# Micro-batches that are formed and neither paused nor completed. While they are so many nothing else is formed, so that
# what waits can still be chosen, or be forgotten.
MOST_OPEN: Final = 4

# What may have the next run.
Chosen = ServedLane | MicroBatch


class Engine:
    """Runs the micro-batches of all lanes on one device, one run at a time."""

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
        self._guard = CrashGuard(starts)
        self._clock = clock
        self._announce_after_s = announce_after_s
        self._scheduler: Scheduler[Chosen] = Scheduler()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unbegun: set[MicroBatch] = set()
        self._begun: dict[asyncio.Task[None], MicroBatch] = {}
        self._paused: list[MicroBatch] = []
        self._stopping = False
        self._announcing: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Run micro-batches until canceled; those that have begun go on, and their lanes' `drain` waits for them.

        Raises what a micro-batch met that no model, client or broker can cause, and `DeviceFailed`: the process must
        end, and its records come again.
        """
        try:
            while True:
                batch = await self._in_hand(await self._choose())
                await self._turn_of(batch)
                self._go_on(batch)
        finally:
            self._stop()

    async def abandon(self) -> None:
        """Forget what still runs or is being published: its records stay open, and come again elsewhere."""
        left = [*self._begun, *self._announcing]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._guard.close()

    def _stop(self) -> None:
        """What has not begun never does; what is paused goes on, unless the device has failed."""
        self._stopping = True
        for batch in self._unbegun:
            self._guard.forget(batch.counted)
        for task, batch in self._begun.items():
            if batch.state is BatchState.PAUSED:
                if self._failure is not None:
                    task.cancel()
                elif batch.turn is not None and not batch.turn.done():
                    batch.turn.set_result(None)

    async def _choose(self) -> Chosen:
        """Who has the next run; while the device is busy, whose micro-batch is worth forming ahead."""
        loop = asyncio.get_running_loop()
        while True:
            self._raise_failure()
            candidates = self._candidates()
            busy = not self._idle.is_set()
            now = time.monotonic()
            chosen = self._scheduler.choose(candidates, now, busy=busy)
            if chosen is not None:
                return chosen
            self._woken.clear()
            due_at = None if busy else self._scheduler.next_due(candidates)
            timer = loop.call_later(due_at - now, self._woken.set) if due_at is not None else None
            await self._woken.wait()
            if timer is not None:
                timer.cancel()

    def _candidates(self) -> list[Candidate[Chosen]]:
        """What is paused, and what may be formed: nothing of a lane that has something paused, or it would pile up."""
        candidates: list[Candidate[Chosen]] = [
            Candidate(batch, batch.cls, batch.paused_at, full=True) for batch in self._paused
        ]
        if len(self._unbegun) + len(self._begun) - len(self._paused) >= MOST_OPEN:
            return candidates
        pausing = {batch.lane for batch in self._paused}
        candidates.extend(
            Candidate(lane, lane.lane.cls, *due)
            for lane in self._lanes
            if lane not in pausing and (due := lane.due()) is not None
        )
        return candidates

    async def _in_hand(self, chosen: Chosen) -> MicroBatch:
        if isinstance(chosen, MicroBatch):
            self._paused.remove(chosen)
            return chosen
        batch = MicroBatch.form(chosen, self._lanes[chosen])
        self._unbegun.add(batch)
        await prepare(batch, self._guard)
        return batch

    async def _turn_of(self, batch: MicroBatch) -> None:
        """Return when the device is idle, and nothing goes before this one."""
        await self._idle.wait()
        while batch.cls is LaneClass.BULK and (live := self._overtaking()) is not None:
            self._go_on(await self._in_hand(live))
            await self._idle.wait()

    def _overtaking(self) -> Chosen | None:
        return self._scheduler.overtake(self._candidates(), time.monotonic())

    def _go_on(self, batch: MicroBatch) -> None:
        """Begin the micro-batch, or let it make its next run."""
        self._raise_failure()
        if batch.turn is not None:
            self._idle.clear()
            if not batch.turn.done():
                batch.turn.set_result(None)
            return
        self._unbegun.discard(batch)
        batch.begin(self._clock())
        self._guard.forget(batch.uncounted())
        if batch.jobs:
            self._idle.clear()
        task = asyncio.create_task(self._see_through(batch))
        self._begun[task] = batch
        task.add_done_callback(self._seen_through)

    def _seen_through(self, task: "asyncio.Task[None]") -> None:
        batch = self._begun.pop(task)
        batch.state = BatchState.OVER
        batch.lane.release([*batch.jobs, *(job for job, _ in batch.dead)])
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = failure
        self._woken.set()

    async def _see_through(self, batch: MicroBatch) -> None:
        if not batch.jobs:
            return await complete_dead(batch)
        late = asyncio.get_running_loop().call_later(self._announce_after_s, self._announce_running, batch)
        try:
            if batch.alone:
                return await self._see_through_alone(batch)
            running = self._execute(batch)
            dying = complete_dead(batch) if batch.dead else None
            await (asyncio.gather(running, dying) if dying is not None else running)
        finally:
            late.cancel()
        await complete(batch, self._clock())
        self._guard.forget(batch.counted)
        return None

    async def _see_through_alone(self, batch: MicroBatch) -> None:
        """Run a job that was started before and never ended, unless that was too often.

        It is counted no sooner than it starts, and has ended and is forgotten before anything else starts: nothing but
        what it does itself is held against it. One that is given up stays counted: its record may come again, when
        another of its partition ends the worker, and must not begin anew.
        """
        try:
            if await self._guard.earlier_alone(batch.jobs[0]) >= MOST_STARTS:
                await batch.lane.publish(batch.consumer, [self._given_up(batch.jobs[0])])
            else:
                await self._execute(batch)
                await complete(batch, self._clock())
                await self._guard.forget_now(batch.jobs)
        finally:
            self._set_idle()

    async def _execute(self, batch: MicroBatch) -> None:
        """Make all runs of the micro-batch; between two of them others may have the device."""
        RUNNING_JOBS.set([job.id for job in batch.jobs])
        while not await self._step(batch):
            if not batch.alone:
                await self._pause(batch)
            batch.look_again(self._clock())
        batch.lane.device_time.ran(batch.execution.account, batch.turn_s)

    async def _step(self, batch: MicroBatch) -> bool:
        self._raise_failure()
        batch.state = BatchState.RUNNING
        began_s = time.perf_counter()
        try:
            done = await self._thread.submit(batch.execution.step)
        except Exception as error:
            self._failure = error  # before the device is idle: nothing else may begin on it
            raise
        finally:
            if not batch.alone:
                self._set_idle()
        batch.turn_s += time.perf_counter() - began_s
        return done

    async def _pause(self, batch: MicroBatch) -> None:
        """Return when it has its turn again; at a stop, at once."""
        if self._stopping:
            return
        batch.state = BatchState.PAUSED
        batch.paused_at = time.monotonic()
        batch.turn = asyncio.get_running_loop().create_future()
        self._paused.append(batch)
        self._woken.set()
        await batch.turn

    def _set_idle(self) -> None:
        self._idle.set()
        self._woken.set()

    def _raise_failure(self) -> None:
        """Nothing begins or goes on once the device, or something of ours, has failed."""
        if self._failure is not None:
            raise self._failure

    def _given_up(self, job: PendingJob) -> tuple[Record, Outcome]:
        log.error("a job is given up: none of its starts ever ended", job=job.id, starts=MOST_STARTS)
        told = f"the job was started {MOST_STARTS} times, and each time the worker ended before the job did"
        error = ModelCrashed(told)
        end = end_of(job.job, error, self._clock(), rows=job.rows)
        return job.record, DeadLettered(end, error, MOST_STARTS)

    def _announce_running(self, batch: MicroBatch) -> None:
        task = asyncio.create_task(self._try_announcing([job.key for job in batch.jobs], batch.started_at))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def _try_announcing(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        try:
            await self._signals.announce_running(keys, started_at)
        except StoreUnavailable as error:
            log.info("jobs could not be announced as running", jobs=len(keys), error=error.message)
