"""What travels through the engine: form -> prepare -> execute -> complete."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

from runtime.clock import Clock
from schemas.errors import PenstockError
from schemas.holds import Hold
from schemas.routes import Choice
from schemas.tensors import Array
from schemas.topics import LaneClass
from workers.consuming.protocols import Consumer, Record
from workers.inference.backends.watchdog import RUNNING_JOBS
from workers.inference.batching.pending_job import JobState, PendingJob
from workers.inference.engine.lane import ServedLane
from workers.inference.execution.execution import Execution
from workers.inference.results.outcomes import Outcome

NOT_YET: Final = datetime.max.replace(tzinfo=UTC)


class BatchState(Enum):
    """Where a micro-batch is. It moves down this list, but for running and paused, which may take turns."""

    FORMED = auto()
    PREPARED = auto()  # starts counted, rows stacked
    RUNNING = auto()  # it has the device, or is about to
    PAUSED = auto()  # between two of its runs: others may have the device
    COMPLETING = auto()  # its results are being published
    OVER = auto()


@dataclass(slots=True, eq=False)
class Part:
    """The jobs of a micro-batch that are of one lane; their records are the `consumer`'s.

    `counted` are the jobs whose start is counted and not forgotten yet, `dead` those that are not to run here any more:
    they were over before that, or their version was taken back.
    """

    lane: ServedLane
    consumer: Consumer
    jobs: list[PendingJob]
    counted: list[PendingJob] = field(default_factory=list)
    dead: list[tuple[PendingJob, PenstockError | Choice | Hold]] = field(default_factory=list)

    @property
    def cost(self) -> float:
        return sum([job.rows * job.row_cost for job in self.jobs])

    @property
    def copied_share(self) -> float:
        """What of its cost is that of copies, 0 to 1."""
        if self.lane.lane.cls is not LaneClass.BULK:
            return 0.0
        copies = sum([job.rows * job.row_cost for job in self.jobs if job.job.shadow_of is not None])
        return copies / self.cost if copies else 0.0

    def begin(self, now: datetime) -> None:
        """Run, from now on, the jobs that are still ours and not over by now."""
        ours = [job for job in self.jobs if job.state is JobState.FORMED]
        self.dead = [(job, why) for job in ours if (why := self.lane.not_run(job, now)) is not None]
        dead = {id(job) for job, _ in self.dead}
        self.jobs = [job for job in ours if id(job) not in dead] if dead else ours
        self.lane.begin(ours)

    def uncounted(self) -> list[PendingJob]:
        """Of the counted jobs, those that will not run after all; they are no longer counted."""
        if len(self.counted) == len(self.jobs):
            return []
        running = set(map(id, self.jobs))
        left_out = [job for job in self.counted if id(job) not in running]
        self.counted = [job for job in self.counted if id(job) in running]
        return left_out

    async def publish(self, outcomes: Sequence[tuple[Record, Outcome]], *, again: bool = False) -> Sequence[Outcome]:
        """Publish what became of the jobs, and mark their records done. `again`: they were told of before. Returns what
        was published in the end."""
        return await self.lane.publish(self.consumer, outcomes, again=again)

    def release(self) -> None:
        """The jobs' ends are published, or will never be by us."""
        over = [*self.jobs, *(job for job, _ in self.dead)]
        self.jobs, self.dead = [], []
        self.lane.release(over)


@dataclass(slots=True, eq=False)
class MicroBatch:
    """Jobs of one model version that run together: of the `lane` whose turn it is, and what fills it up, whose lane it
    becomes where no other job is left when it begins. One `alone` is a single job that may have ended a process before.

    `stacked` are the rows of all jobs where they have been stacked ahead. `turn` is done when it may make its next
    run, which is then `running`, and takes `run_s` if that is known. `turn_s` is for how long it has kept the device
    from others so far, `announce_at` when its jobs are shown as running.
    """

    lane: ServedLane
    parts: list[Part]
    turn: "asyncio.Future[None]"
    alone: bool = False
    state: BatchState = BatchState.FORMED
    stacked: dict[str, Array] | None = None
    started_at: datetime = NOT_YET
    running: "asyncio.Future[bool] | None" = None
    submitted_at: float = 0.0
    run_s: float | None = None
    turn_s: float = 0.0
    paused_at: float = 0.0
    announce_at: float = math.inf
    _execution: Execution | None = None

    @classmethod
    def form(cls, lane: ServedLane, consumer: Consumer) -> "MicroBatch":
        """The lane's next micro-batch; its records are the `consumer`'s."""
        jobs, alone = lane.form()
        return cls(lane, [Part(lane, consumer, jobs)], asyncio.get_running_loop().create_future(), alone)

    def fill(self, lane: ServedLane, consumer: Consumer, now: datetime) -> None:
        """Fill it up with jobs of another lane of the version. Who runs alone has no company."""
        if not self.alone:
            jobs = self.jobs
            left_s = (min([job.job.expires_at for job in jobs]) - now).total_seconds()
            if filling := lane.fill(jobs, left_s):
                self.parts.append(Part(lane, consumer, filling))

    def fall_apart(self) -> "list[MicroBatch]":
        """Its jobs have failed together: those of each lane run anew, in a micro-batch of their own that is paused.
        This one has none from then on."""
        self.state = BatchState.COMPLETING
        parts = [Part(part.lane, part.consumer, part.jobs, part.counted) for part in self.parts if part.jobs]
        for part in self.parts:
            part.jobs, part.counted = [], []
        loop = asyncio.get_running_loop()
        return [
            MicroBatch(
                part.lane,
                [part],
                loop.create_future(),
                state=BatchState.PAUSED,
                started_at=self.started_at,
                paused_at=time.monotonic(),
                _execution=Execution(part.lane.runner, part.jobs, tries=len(part.lane.retry_delays_s)),
            )
            for part in parts
        ]

    @property
    def jobs(self) -> list[PendingJob]:
        """Of all parts, in their order."""
        return [job for part in self.parts for job in part.jobs]

    @property
    def counted(self) -> list[PendingJob]:
        return [job for part in self.parts for job in part.counted]

    @property
    def cls(self) -> LaneClass:
        return self.lane.lane.cls

    @property
    def begun(self) -> bool:
        return self.state not in (BatchState.FORMED, BatchState.PREPARED)

    def go(self) -> None:
        """It may make its next run, or end without one."""
        if not self.turn.done():
            self.turn.set_result(None)

    @property
    def execution(self) -> Execution:
        assert self._execution is not None  # noqa: S101 - begun
        return self._execution

    def begin(self, now: datetime) -> None:
        """Run, from now on, the jobs that are still ours and not over by now."""
        self.state = BatchState.RUNNING
        formed = len(self.jobs)
        for part in self.parts:
            part.begin(now)
        self.started_at = now
        if jobs := self.jobs:
            self.lane = next(part.lane for part in self.parts if part.jobs)  # what only filled it up is no live one
            stacked = self.stacked if len(jobs) == formed else None
            filled = sum(bool(part.jobs) for part in self.parts) > 1
            tries = len(self.lane.retry_delays_s)
            self._execution = Execution(self.lane.runner, jobs, stacked, or_apart=filled, tries=tries)
            self.run_s = None if stacked is None else self.lane.runner.expected_s(stacked)
        self.stacked = None

    def uncounted(self) -> list[PendingJob]:
        """Of the counted jobs, those that will not run after all; they are no longer counted."""
        return [job for part in self.parts for job in part.uncounted()]

    def step(self, clock: Clock | None = None) -> bool:
        """Make the next run, in the inference thread; returns whether that was the last one.

        With a `clock` where it had to wait for this run: jobs that are over by now are taken out.
        """
        if clock is not None:
            self._look_again(clock())
        if self.lane.run_limit_s is not None:
            RUNNING_JOBS.set([job.id for job in self.jobs])
        return self.execution.step()

    def _look_again(self, now: datetime) -> None:
        for index, (lane, job) in enumerate([(part.lane, job) for part in self.parts for job in part.jobs]):
            if (error := lane.over(job, now)) is not None:
                self.execution.take_out(index, error)
