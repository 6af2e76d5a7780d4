"""A worker's parts put together over the twins of Kafka and Redis, with a model that the test holds in its hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta

from producers.catalog import Catalog
from producers.holds import Holds
from producers.memory import MemoryLog
from producers.routes import Routes
from runtime.budget import MemoryBudget
from schemas.errors import PenstockError
from schemas.hold_documents import encode_hold
from schemas.holds import Hold
from schemas.jobs import Terminal
from schemas.records import LaneJob, OutRecord, read_terminal_record
from schemas.stats import Counts
from schemas.topics import Lane
from stores.memory_signals import MemorySignals
from stores.memory_starts import MemoryStarts
from stores.protocols import JobKey
from tests.unit.inference.jobs import BULK, LIVE, NOON, SIGNATURE, TOPICS, out_record
from tests.waiting import SOON_S
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.batching.pending_job import JobState
from workers.inference.counting.tally import Tallies
from workers.inference.decoding.record_decoder import RecordDecoder, nothing_refused
from workers.inference.engine.engine import Engine
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.engine.lane import ServedLane
from workers.inference.engine.micro_batch import BatchState
from workers.inference.execution.runner import Model, Runner
from workers.inference.results.publisher import ResultPublisher
from workers.inference.shadows.shadows import VersionCopies
from workers.memory import MemoryConsumer, MemoryGroup
from workers.moves import Moves

RESULTS = TOPICS.results


class Clock:
    """Job time, moved by the test."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class HeldLog(MemoryLog):
    """A log that takes records of one topic only while `acknowledging` is set. `waiting` counts the calls that wait."""

    def __init__(self, topic: str) -> None:
        super().__init__(partitions=1)
        self._held = topic
        self.acknowledging = asyncio.Event()
        self.acknowledging.set()
        self.waiting = 0

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        if records and records[0].topic == self._held:
            self.waiting += 1
            await self.acknowledging.wait()
            self.waiting -= 1
        return await super().publish_all(records)


class SmallWorker:
    """Both lanes of one model version, micro-batches of four rows, nothing waits for company."""

    def __init__(
        self,
        log: MemoryLog,
        thread: InferenceThread,
        model: Model,
        max_rows: int,
        starts: MemoryStarts,
        moves: Moves | None = None,
        shadows: Callable[["SmallWorker"], VersionCopies] | None = None,
    ) -> None:
        self.log = log
        self.moves = moves or Moves(Routes(), Catalog())
        self.holds = Holds()
        self.thread = thread
        self.clock = Clock()
        self.signals = MemorySignals(self.clock)
        self.starts = starts
        self.canceled: set[JobKey] = set()
        self.consumers: dict[ServedLane, MemoryConsumer] = {}
        self.loop: asyncio.Task[None]
        self.tallies = Tallies()
        self.counted: list[tuple[Lane, Counts]] = []  # and told
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.engine = Engine(
            self.consumers,
            thread,
            self.signals,
            self.starts,
            self.clock,
            tell_counts=self._tell_counts,
            announce_after_s=0.0,
        )
        self.sizer = BatchSizeTuner(max_rows, adaptive=False)
        self.memory = MemoryBudget(2**30)
        self.copies = None if shadows is None else shadows(self)
        runner = Runner(model, SIGNATURE, self.sizer)
        self.live, self.bulk = (self._lane(lane, runner, max_rows) for lane in (LIVE, BULK))

    def _lane(self, lane: Lane, runner: Runner, max_rows: int) -> ServedLane:
        return ServedLane(
            lane,
            runner,
            RecordDecoder(
                lane,
                SIGNATURE,
                self.canceled,
                moves=self.moves.waiting,
                refuses=nothing_refused if self.copies is None else self.copies.refuses,
                holds=self.holds,
            ),
            Batcher(self.sizer, 0.0, 2 * max_rows),
            self.sizer,
            ResultPublisher(self.log, TOPICS, self.moves.failed),
            group=TOPICS.lane_group(lane),
            wake=self.engine.wake,
            clock=self.clock,
            memory=self.memory,
            tally=self.tallies.of(lane),
            copies=self.copies,
            holds=self.holds,
        )

    async def _tell_counts(self) -> None:
        self.counted += self.tallies.take()
        await self.may_tell.wait()

    def set_hold(self, hold: Hold) -> None:
        self.holds.apply(hold.id.encode(), encode_hold(hold))
        self._heard()

    def release(self, hold_id: str) -> None:
        self.holds.apply(hold_id.encode(), None)
        self._heard()

    def _heard(self) -> None:
        for lane in self.consumers:
            lane.reroute()

    async def submit(self, *jobs: LaneJob) -> None:
        await self.log.publish_all([out_record(job) for job in jobs])

    def ends(self) -> list[Terminal]:
        """Every terminal record published so far."""
        return [read_terminal_record(tuple(out.headers), out.value) for out in self.log.records(RESULTS)]

    def ended(self, jobs: Sequence[LaneJob]) -> bool:
        """Whether each of the jobs, and no other, has ended exactly once."""
        return sorted(end.id for end in self.ends()) == sorted(job.id for job in jobs)

    async def loop_ended(self) -> None:
        """Raises what the loop failed with."""
        async with asyncio.timeout(SOON_S):
            await self.loop

    def formed(self, lane: ServedLane) -> int:
        """Jobs of the lane that are in a micro-batch which has not begun."""
        return sum(job.state is JobState.FORMED for job in lane._taken)

    def prepared(self, lane: ServedLane) -> int:
        """Jobs of the lane that are in a micro-batch which could begin."""
        open_ = self.engine._open.values()
        parts = [part for each in open_ if each.state is BatchState.PREPARED for part in each.parts]
        return sum(len(part.jobs) for part in parts if part.lane is lane)

    def waits_alone(self, lane: ServedLane) -> bool:
        """Whether the last suspect of the lane stands behind what runs."""
        standing = [batch for batch in self.engine._open.values() if not batch.begun]
        return not lane._suspects and any(batch.alone and batch.lane is lane for batch in standing)

    def held_bytes(self, lane: ServedLane) -> int:
        """By every job of the lane that waits or has been taken, counted anew."""
        waiting = [
            entry.item
            for group in lane._batcher._groups.values()
            for queue in group._queues.values()
            for entry in queue
        ]
        return sum(job.held_bytes for job in [*waiting, *lane._taken, *lane._suspects])

    @property
    def open_count(self) -> int:
        return sum(consumer.open_count for consumer in self.consumers.values())


@asynccontextmanager
async def small_worker(
    model: Model,
    *,
    max_rows: int = 4,
    log: MemoryLog | None = None,
    starts: MemoryStarts | None = None,
    moves: Moves | None = None,
    shadows: Callable[[SmallWorker], VersionCopies] | None = None,
    fails: bool = False,
) -> AsyncIterator[SmallWorker]:
    """A worker that is running; on leaving it is not drained. Holds that nothing in it failed, unless it `fails`."""
    log = log or MemoryLog(partitions=1)
    async with AsyncExitStack() as stack:
        thread = await stack.enter_async_context(InferenceThread())
        worker = SmallWorker(log, thread, model, max_rows, starts or MemoryStarts(), moves, shadows)
        tasks: list[asyncio.Task[None]] = []
        for lane in (worker.live, worker.bulk):
            consumer = await stack.enter_async_context(MemoryGroup(log, [TOPICS.lane(lane.lane)]).member())
            worker.consumers[lane] = consumer
            tasks.append(asyncio.create_task(lane.feed(consumer)))
        worker.loop = asyncio.create_task(worker.engine.run())
        tasks.append(worker.loop)
        stack.push_async_callback(worker.engine.abandon)
        try:
            yield worker
            for lane in (worker.live, worker.bulk):
                assert lane._held_bytes == worker.held_bytes(lane), "what is held is not what there is"
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert fails or all(isinstance(end, asyncio.CancelledError) for end in ended), ended
