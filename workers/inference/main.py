"""`penstock worker`: loads its models, announces them, and serves their lanes until it is told to stop."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final, TypeVar

from producers.kafka_publisher import KafkaPublisher
from runtime.clock import now_utc
from runtime.health import Check
from runtime.lifecycle import SideTasks
from runtime.logs import get_logger
from runtime.process import StoppedEarly, open_patiently, run_process, unless_stopped
from stores.redis import RedisNews, RedisSignals, RedisStarts
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.inference.announce import announce, lanes_of
from workers.inference.backends.device import claim_device
from workers.inference.batcher import Batcher
from workers.inference.cancellations import Cancellations
from workers.inference.ends import Ends
from workers.inference.gpu_metrics import watched_gpu
from workers.inference.inference_thread import InferenceThread
from workers.inference.intake import Intake
from workers.inference.lane import ServedLane
from workers.inference.limits import FixedLimits
from workers.inference.pipeline import Pipeline
from workers.inference.repository import ModelRepository
from workers.inference.runner import Runner
from workers.inference.served import ServedModel, load_all
from workers.inference.settings import WorkerSettings
from workers.inference.texts import texts_of

log = get_logger(__name__)

# What waits beside the micro-batch that is being filled: enough to fill the next, no more.
QUEUED_BATCHES: Final = 2

T = TypeVar("T")


def run() -> None:
    run_process("worker", WorkerSettings, Worker)


class Worker:
    """One process on one device, serving some model versions of the repository."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._waiting_for: str | None = "models are being loaded"
        self._lanes: Sequence[ServedLane] = ()
        self._consumers: dict[ServedLane, KafkaConsumer] = {}

    @property
    def checks(self) -> Mapping[str, Check]:
        return {"lanes": self._why_not_ready}

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        redis = (settings.redis_url.get_secret_value(), settings.topic_prefix)
        async with AsyncExitStack() as stack:
            device = claim_device(settings.worker_device, os.environ)  # before anything imports a runtime
            stack.enter_context(watched_gpu(device, os.environ))
            thread = await stack.enter_async_context(InferenceThread())
            models = await unless_stopped(thread.submit(partial(self._load_models, device), status_if_left=0), stop)
            self._waiting_for = f"waiting for Kafka at {settings.kafka_bootstrap_servers}"
            publisher = await open_patiently(stack, self._publisher, stop)
            versions = [model.version for model in models]
            await unless_stopped(announce(settings, publisher, versions, settings.lane_partitions, now_utc), stop)
            signals = await stack.enter_async_context(RedisSignals(redis[0], prefix=redis[1]))
            news = await stack.enter_async_context(RedisNews(redis[0], prefix=redis[1]))
            canceled = Cancellations(now_utc)
            starts = await stack.enter_async_context(RedisStarts(redis[0], prefix=redis[1]))
            pipeline = Pipeline(self._consumers, thread, signals, starts, now_utc)
            stack.push_async_callback(pipeline.abandon)
            side = await stack.enter_async_context(SideTasks(stop))
            side.start(canceled.follow(news), "cancellations")
            self._lanes = self._build_lanes(models, canceled, Ends(publisher, settings.topics), pipeline)
            await self._serve(pipeline, side, stop)

    def _why_not_ready(self) -> str | None:
        if self._waiting_for is not None:
            return self._waiting_for
        joined = {lane for lane, consumer in self._consumers.items() if consumer.joined}
        absent = [str(lane.lane) for lane in self._lanes if lane not in joined]
        return f"joining {', '.join(absent)}" if absent else None

    def _publisher(self) -> KafkaPublisher:
        return KafkaPublisher(self._settings, compression=self._settings.worker_result_compression)

    def _load_models(self, device: str) -> list[ServedModel]:
        patterns = self._settings.patterns
        versions = ModelRepository(self._settings.model_repository).scan(patterns)
        return load_all(versions, device, patterns)

    def _build_lanes(
        self, models: Sequence[ServedModel], canceled: Cancellations, ends: Ends, pipeline: Pipeline
    ) -> list[ServedLane]:
        """Both lanes of every version; the two share the version's runner."""
        built: list[ServedLane] = []
        for model in models:
            version = model.version
            texts = texts_of(version)
            runner = Runner(model.backend, version.signature, version.max_batch_size, version.rules)
            built.extend(
                ServedLane(
                    lane,
                    runner,
                    Intake(lane, version.signature, canceled, version.rules, texts),
                    Batcher(
                        FixedLimits(version.max_batch_size),
                        version.max_wait_s,
                        QUEUED_BATCHES * version.max_batch_size,
                        version.rules,
                    ),
                    ends,
                    group=self._settings.topics.lane_group(lane),
                    wake=pipeline.wake,
                    clock=now_utc,
                )
                for lane in lanes_of(version)
            )
        return built

    async def _serve(self, pipeline: Pipeline, side: SideTasks, stop: asyncio.Event) -> None:
        """Serve all lanes until `stop`; then each drains, commits and leaves its group, all at the same time."""
        members = [side.start(self._serve_lane(lane, side, stop), f"lane {lane.lane}") for lane in self._lanes]
        running = side.start(pipeline.run(), "pipeline")
        self._waiting_for = None
        await stop.wait()
        running.cancel()
        await asyncio.wait([running, *members])

    async def _serve_lane(self, lane: ServedLane, side: SideTasks, stop: asyncio.Event) -> None:
        settings = self._settings
        topic, group = settings.topics.lane(lane.lane), settings.topics.lane_group(lane.lane)
        async with AsyncExitStack() as stack:
            with suppress(StoppedEarly):
                consumer = await open_patiently(
                    stack, lambda: KafkaConsumer(settings, group, [topic], drain=lane.drain), stop
                )
                self._consumers[lane] = consumer
                side.start(consumer.watch(), f"watch {group}")
                await unless_stopped(lane.feed(consumer), stop)
