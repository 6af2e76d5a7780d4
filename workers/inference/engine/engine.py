"""The worker's loop: form a micro-batch, prepare it while the one before runs, execute it off the loop, complete it.

One run of the model is made at a time, and at most one more micro-batch is formed and prepared behind it, which live
ones may overtake if it is bulk: what is formed can no longer be chosen. Just before the run is expected to end, the
device is handed the next one, and begins it by itself. Completing overlaps with the next run, within bounds. A
micro-batch of several runs (a large job, a failed one in pieces) is paused between them, and is then one of those to be
chosen among.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import ModelCrashed
from schemas.topics import LaneClass
from stores.protocols import Signals, Starts
from workers.consuming.protocols import Consumer, Record
from workers.inference.batching.pending_job import PendingJob
from workers.inference.engine.announcing import ANNOUNCE_RUNNING_AFTER_S, RunningAnnouncer
from workers.inference.engine.completion import complete, complete_dead, count_failed
from workers.inference.engine.crash_guard import MOST_STARTS, CrashGuard
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.engine.lane import ServedLane
from workers.inference.engine.micro_batch import BatchState, MicroBatch
from workers.inference.engine.prepare import prepare
from workers.inference.engine.scheduler import Candidate, Lookahead, Scheduler
from workers.inference.results.outcomes import Outcome, given_up

log = get_logger(__name__)

# Micro-batches that are formed and neither paused nor completed. While they are so many nothing else is formed, so that
# what waits can still be chosen, or be forgotten.
MOST_OPEN: Final = 4

# What may have the next run.
Chosen = ServedLane | MicroBatch


class Engine:
    """Runs the micro-batches of all lanes on one device, one run at a time.

    Each micro-batch is one task, from form to complete, which waits for its turns. `_give_turns` says whose turn it is:
    whenever something waits, is prepared, is due, or has left the device.
    """

    def __init__(
        self,
        lanes: Mapping[ServedLane, Consumer],
        thread: InferenceThread,
        signals: Signals,
        starts: Starts,
        clock: Clock,
        *,
        tell_counts: Callable[[], Awaitable[None]],
        announce_after_s: float = ANNOUNCE_RUNNING_AFTER_S,
    ) -> None:
        self._lanes = lanes
        self._thread = thread
        self._guard = CrashGuard(starts)
        self._clock = clock
        self._tell_counts = tell_counts
        self._scheduler: Scheduler[Chosen] = Scheduler()
        self._lookahead = Lookahead()
        self._on_device: list[MicroBatch] = []  # the one that runs, and the one that it hands over to
        # Who has the next run; before a bulk one that has to wait, a live one that overtakes it.
        self._next: list[MicroBatch] = []
        self._paused: list[MicroBatch] = []
        self._open: dict[asyncio.Task[None], MicroBatch] = {}
        self._look_again: asyncio.TimerHandle | None = None
        self._announcer = RunningAnnouncer(signals, self._open.values(), announce_after_s)
        self._failed: asyncio.Future[None] | None = None  # while it runs
        self._failure: BaseException | None = None

    def wake(self) -> None:
        """There may be something to form."""
        self._give_turns()

    async def run(self) -> None:
        """Run micro-batches until canceled; those that have begun go on, and their lanes' `drain` waits for them.

        Raises what a micro-batch met that no model, client or broker can cause, and `DeviceFailed`: the process must
        end, and its records come again.
        """
        self._failed = asyncio.get_running_loop().create_future()
        try:
            self._give_turns()
            await self._failed
        finally:
            self._stop()

    async def abandon(self) -> None:
        """Forget what still runs or is being published: its records stay open, and come again elsewhere."""
        self._stop()
        telling = self._announcer.stop()
        begun = {task: batch for task, batch in self._open.items() if batch.begun}
        for batch in begun.values():
            if batch.running is not None:  # a task that was handed the device in this moment does not wait for it yet
                batch.running.cancel()
        for task in (*begun, *telling):
            task.cancel()
        await asyncio.gather(*self._open, *telling, return_exceptions=True)
        await self._guard.close()

    def _stop(self) -> None:
        """What has not begun never does; what is paused goes on, which comes to nothing if the device has failed."""
        self._failed = None
        if self._look_again is not None:
            self._look_again.cancel()
        for batch in self._open.values():
            batch.go()

    @property
    def _stopping(self) -> bool:
        return self._failed is None

    def _give_turns(self) -> None:
        """Form what is worth it, and let who is next have the device as soon as that is idle, and the next prepared."""
        try:
            self._form_and_go_on()
        except Exception as error:
            self._fail(error)

    def _form_and_go_on(self) -> None:
        while not self._stopping and self._failure is None and len(self._on_device) <= 1:
            now = time.monotonic()
            if not self._next:
                candidates = self._candidates()
                chosen = self._scheduler.choose(candidates, now, busy=not self._may_form(now))
                if chosen is None:
                    self._look_at(self._due(candidates, now), now)
                    return
                self._next.append(self._in_hand(chosen))
            elif (live := self._overtaking(now)) is not None:
                self._next.append(self._in_hand(live))
            elif self._next[-1].state is BatchState.FORMED or not self._may_go_on(now):
                if self._on_device:
                    self._look_at(self._lookahead.next_look(now, formed=True), now)
                return
            else:
                self._go_on(self._next.pop())

    def _may_form(self, now: float) -> bool:
        """Whether a micro-batch that is not full is worth forming."""
        return not self._on_device or self._lookahead.may_form(now)

    def _may_go_on(self, now: float) -> bool:
        """Whether the device may have the next run. What runs alone has no neighbor there."""
        if not self._on_device:
            return True
        following = self._next[-1]
        return self._lookahead.may_hand_over(now, following.cls) and not (self._on_device[0].alone or following.alone)

    def _due(self, candidates: Sequence[Candidate[Chosen]], now: float) -> float | None:
        """When one of them may be formed; what is full already was not chosen, as others are to be."""
        due_at = self._scheduler.next_due(candidates)
        if due_at is None or not self._on_device:
            return due_at
        ahead_at = self._lookahead.next_look(now, formed=False)
        return None if ahead_at is None else max(due_at, ahead_at)

    def _overtaking(self, now: float) -> Chosen | None:
        """Who goes before a bulk micro-batch that is next and has not begun."""
        if len(self._next) > 1 or self._next[0].cls is not LaneClass.BULK:
            return None
        if not (self._may_form(now) or self._may_go_on(now)):  # once it has gone on, nothing overtakes it
            return None
        return self._scheduler.overtake(self._candidates(), now)

    def _look_at(self, due_at: float | None, now: float) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        if due_at is not None:
            self._look_again = asyncio.get_running_loop().call_later(due_at - now, self._give_turns)

    def _candidates(self) -> list[Candidate[Chosen]]:
        """What is paused, and what may be formed: nothing of a lane that has something paused, or it would pile up."""
        candidates: list[Candidate[Chosen]] = [
            Candidate(batch, batch.cls, batch.paused_at, full=True) for batch in self._paused
        ]
        if len(self._open) - len(self._paused) >= MOST_OPEN:
            return candidates
        for lane in self._lanes:
            due = lane.due()
            if due is not None and not self._has_paused(lane):
                candidates.append(Candidate(lane, lane.lane.cls, *due))
        return candidates

    def _in_hand(self, chosen: Chosen) -> MicroBatch:
        if isinstance(chosen, MicroBatch):
            self._paused.remove(chosen)
            return chosen
        batch = MicroBatch.form(chosen, self._lanes[chosen])
        if (bulk := self._filling(chosen)) is not None:
            batch.fill(bulk, self._lanes[bulk], self._clock())
        self._start(batch, self._see_through(batch))
        return batch

    def _start(self, batch: MicroBatch, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._open[task] = batch
        task.add_done_callback(self._seen_through)

    def _filling(self, live: ServedLane) -> ServedLane | None:
        """The lane whose jobs may fill up a live micro-batch: the version's bulk, unless it has something paused."""
        if live.lane.cls is not LaneClass.LIVE:
            return None
        bulk = [lane for lane in self._lanes if lane.runner is live.runner and lane.lane.cls is LaneClass.BULK]
        return bulk[0] if bulk and not self._has_paused(bulk[0]) else None

    def _has_paused(self, lane: ServedLane) -> bool:
        return any(batch.lane is lane for batch in self._paused)

    def _go_on(self, batch: MicroBatch) -> None:
        """Begin the micro-batch, or let it make its next run."""
        if not batch.begun:
            batch.begin(self._clock())
            self._guard.forget(batch.uncounted())
        if batch.jobs:
            self._on_device.append(batch)
            if len(self._on_device) == 1:
                self._lookahead.begins(time.monotonic(), batch.run_s)
            if not batch.alone:
                self._run(batch)
        batch.go()

    def _run(self, batch: MicroBatch) -> "asyncio.Future[bool]":
        """Make its next run: at once, and not when its task comes to it, which others may hold up."""
        batch.state = BatchState.RUNNING
        batch.submitted_at = time.perf_counter()
        # What runs alone has waited for its start's being counted.
        begins_now = batch.turn_s == batch.paused_at == 0.0 and self._on_device == [batch] and not batch.alone
        batch.running = self._thread.submit(batch.step if begins_now else partial(batch.step, self._clock))
        return batch.running

    def _seen_through(self, task: "asyncio.Task[None]") -> None:
        batch = self._open.pop(task)
        batch.state = BatchState.OVER
        for part in batch.parts:
            part.release()
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._fail(failure)
        self._give_turns()

    def _fail(self, failure: BaseException) -> None:
        """Nothing begins or goes on once the device, or something of ours, has failed."""
        self._failure = failure
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(failure)

    async def _see_through(self, batch: MicroBatch) -> None:
        formed_at = time.monotonic()
        await prepare(batch, self._guard)
        self._lookahead.prepared(time.monotonic() - formed_at)
        if not self._stopping:
            self._give_turns()
            await batch.turn
        if not batch.begun:
            self._guard.forget(batch.counted)
        elif not batch.jobs:
            await complete_dead(batch)
        elif batch.alone:
            await self._see_through_alone(batch)
        else:
            running = self._execute(batch)
            dead = any(part.dead for part in batch.parts)
            await (asyncio.gather(running, complete_dead(batch)) if dead else running)
            if not batch.execution.fell_apart:
                await self._complete(batch)

    async def _complete(self, batch: MicroBatch) -> None:
        await complete(batch, self._clock())
        self._guard.forget(batch.counted)

    def _run_apart(self, batch: MicroBatch) -> None:
        """What was filled up has failed: each lane's jobs go on by themselves, when they have their turn."""
        count_failed(batch)
        for apart in batch.fall_apart():
            if self._stopping:
                apart.go()
            else:
                self._paused.append(apart)
            self._start(apart, self._see_through_apart(apart))

    async def _see_through_apart(self, batch: MicroBatch) -> None:
        await batch.turn
        await self._execute(batch)
        await self._complete(batch)

    async def _see_through_alone(self, batch: MicroBatch) -> None:
        """Run a job that was started before and never ended, unless that was too often.

        It is counted no sooner than it starts, and has ended and is forgotten before anything else starts: nothing but
        what it does itself is held against it. One that is given up stays counted: its record may come again, when
        another of its partition ends the worker, and must not begin anew.
        """
        (job,) = batch.jobs
        try:
            starts = await self._guard.earlier_alone(job)
            is_copy = job.job.shadow_of is not None
            if starts >= MOST_STARTS or (starts and is_copy):  # a copy is not worth another try
                (part,) = batch.parts
                await part.publish([self._given_up(job)], again=starts > MOST_STARTS)
                if not is_copy:
                    await self._tell_counts()  # the next may end the process before the interval does
            else:
                await self._execute(batch)
                await complete(batch, self._clock())
                await self._guard.forget_now([job])
        finally:
            self._leave_device(batch)

    async def _execute(self, batch: MicroBatch) -> None:
        """Make all runs of the micro-batch; between two of them others may have the device."""
        self._announcer.begins(batch)
        while not await self._step(batch):
            if not batch.alone:
                await self._pause(batch)
        batch.lane.device_time.ran(batch.execution.account, batch.turn_s)

    async def _step(self, batch: MicroBatch) -> bool:
        if batch.running is None and self._failure is not None:
            raise self._failure
        done = True
        try:
            done = await (batch.running or self._run(batch))
            if batch.execution.fell_apart:  # before the next is chosen
                self._run_apart(batch)
        except Exception as error:
            self._failure = error  # before the device is idle: nothing else may begin on it
            raise
        finally:
            batch.running = None
            batch.turn_s += time.perf_counter() - batch.submitted_at
            if done and not batch.alone:
                self._leave_device(batch)
        return done

    async def _pause(self, batch: MicroBatch) -> None:
        """Return when it has its turn again; at a stop, at once."""
        if self._stopping:
            return
        batch.state = BatchState.PAUSED
        if len(batch.jobs) > 1:
            batch.run_s = None  # of pieces it is not known
        batch.paused_at = time.monotonic()
        batch.turn = asyncio.get_running_loop().create_future()
        self._paused.append(batch)
        self._leave_device(batch)
        await batch.turn

    def _leave_device(self, batch: MicroBatch) -> None:
        now = time.monotonic()
        if batch in self._on_device:  # at a stop, what was paused goes on without its turn
            self._on_device.remove(batch)
            self._lookahead.ends(now)
        if self._on_device:  # it runs by now, as the device was handed over to it
            self._on_device[0].submitted_at = time.perf_counter()
            self._lookahead.begins(now, self._on_device[0].run_s)
        self._give_turns()

    def _given_up(self, job: PendingJob) -> tuple[Record, Outcome]:
        if job.job.shadow_of is None:
            log.error("a job is given up: none of its starts ever ended", job=job.id, starts=MOST_STARTS)
        told = f"the job was started {MOST_STARTS} times, and each time the worker ended before the job did"
        return job.record, given_up(job.job, ModelCrashed(told), MOST_STARTS, self._clock(), rows=job.rows)
