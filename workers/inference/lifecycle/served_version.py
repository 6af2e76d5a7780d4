"""A model version as this worker serves it: its two lanes, which come and go while others are served."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final

from producers.holds import Holds
from runtime.budget import MemoryBudget
from runtime.clock import now_utc
from runtime.lifecycle import BackgroundTasks
from runtime.process import StoppedEarly, open_patiently, unless_stopped
from stores.blobs import Blobs
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.prefetch import PrefetchShares
from workers.inference.backends.own_frames import own_traceback
from workers.inference.backends.warmup import warmups_of
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.counting.tally import Tallies
from workers.inference.decoding.cancellations import Cancellations
from workers.inference.decoding.record_decoder import RecordDecoder
from workers.inference.decoding.tokenizer import tokenizer_of
from workers.inference.engine.lane import ServedLane
from workers.inference.execution.runner import Runner
from workers.inference.lifecycle.announce import lanes_of
from workers.inference.lifecycle.model_cache import ModelSlot
from workers.inference.models.model_version import ModelVersion
from workers.inference.results.publisher import ResultPublisher
from workers.inference.settings import WorkerSettings
from workers.inference.shadows.shadows import Shadows
from workers.moves import MovedTo

# What waits beside the micro-batch that is being filled: enough to fill the next, no more. Where rows differ in size
# there is more to choose from, so that those of about one size run together.
QUEUED_BATCHES: Final = 2
QUEUED_BATCHES_OF_SIZES: Final = 8


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """What the lanes of all versions have in common. `consumers` are those of the lanes that are served just now.

    `prepare` is called before each micro-batch, where it runs.
    """

    settings: WorkerSettings
    canceled: Cancellations
    moves: MovedTo
    holds: Holds
    ends: ResultPublisher
    wake: Callable[[], None]
    prepare: Callable[[ModelSlot], None]
    consumers: dict[ServedLane, KafkaConsumer]
    side: BackgroundTasks
    memory: MemoryBudget
    prefetch: PrefetchShares
    tallies: Tallies
    shadows: Shadows
    blobs: Blobs | None = None


class ServedVersion:
    """Serves from `start` until it has `left`."""

    def __init__(self, slot: ModelSlot, around: WorkerContext) -> None:
        self._slot = slot
        self._around = around
        self._lanes = self._build_lanes()
        self._leaving = asyncio.Event()
        self._members: list[asyncio.Task[None]] = []

    @property
    def slot(self) -> ModelSlot:
        return self._slot

    @property
    def absent(self) -> list[str]:
        """The lanes whose group has not been joined, or is being joined again."""
        consumers = self._around.consumers
        return [str(lane.lane) for lane in self._lanes if lane not in consumers or not consumers[lane].joined]

    def start(self) -> None:
        side = self._around.side
        self._members = [side.start(self._serve(lane), f"lane {lane.lane}") for lane in self._lanes]

    def leave(self) -> None:
        """Finish what runs, commit it and leave the groups, all lanes at the same time; `left` waits for that."""
        self._leaving.set()

    async def left(self) -> None:
        """The groups are left. What took longer to run than may be waited for is run again elsewhere."""
        if self._members:
            await asyncio.wait(self._members)

    async def forgotten(self) -> None:
        """As `left`, and nothing runs any more, however long it takes."""
        await self.left()
        for lane in self._lanes:
            await lane.drain(frozenset())
            self._around.consumers.pop(lane, None)

    def _build_lanes(self) -> list[ServedLane]:
        """Both lanes; they share the runner, and what is learned from its runs."""
        around, slot = self._around, self._slot
        version = slot.found.version
        tokenizer = tokenizer_of(version)
        queued = QUEUED_BATCHES_OF_SIZES if version.rules.sized else QUEUED_BATCHES
        sizer = sizer_of(version)
        copies = around.shadows.of(version)
        runner = Runner(
            slot,
            version.signature,
            sizer,
            version.rules,
            prepare=lambda: around.prepare(slot),
            traceback=lambda error: own_traceback(error, slot.found.version),
        )
        return [
            ServedLane(
                lane,
                runner,
                RecordDecoder(
                    lane,
                    version.signature,
                    around.canceled,
                    version.rules,
                    tokenizer,
                    most_bytes=around.memory.limit_bytes,
                    moves=around.moves,
                    refuses=copies.refuses,
                    holds=around.holds,
                ),
                Batcher(sizer, version.max_wait_s, queued * version.max_batch_size, version.rules),
                sizer,
                around.ends,
                group=around.settings.topics.lane_group(lane),
                wake=around.wake,
                clock=now_utc,
                memory=around.memory,
                retry_delays_s=around.settings.retry_tiers_s,
                run_limit_s=version.run_limit_s,
                guarded=version.isolation != "process",
                tally=around.tallies.of(lane),
                copies=copies,
                holds=around.holds,
                blobs=around.blobs,
            )
            for lane in lanes_of(version)
        ]

    async def _serve(self, lane: ServedLane) -> None:
        settings = self._around.settings
        topic, group = settings.topics.lane(lane.lane), settings.topics.lane_group(lane.lane)
        async with AsyncExitStack() as stack:
            limits = stack.enter_context(self._around.prefetch.limits(settings.lane_partitions))
            with suppress(StoppedEarly):
                consumer = await open_patiently(
                    stack,
                    lambda: KafkaConsumer(
                        settings, group, [topic], drain=lane.drain, limits=limits, drain_limit_s=lane.drain_limit_s
                    ),
                    self._leaving,
                )
                self._around.consumers[lane] = consumer
                watching = self._around.side.start(consumer.watch(), f"watch {group}")
                stack.callback(watching.cancel)
                await unless_stopped(lane.feed(consumer), self._leaving)


def sizer_of(version: ModelVersion) -> BatchSizeTuner:
    """It begins with as many rows as were warmed up, where rows of any job take as long as those; else small."""
    sizer = BatchSizeTuner(
        version.max_batch_size,
        target_s=version.latency_target_s,
        adaptive=version.adaptive,
        batch_sizes=version.rules.batch_sizes,
        costs_differ=bool(version.rules.charged),
    )
    if version.adaptive and version.latency_target_s is None and not version.rules.charged:
        sizer.start_at(max((warmup.batch_size for warmup in warmups_of(version)), default=1))
    return sizer
