"""`penstock worker`: loads its models, announces them, and serves their lanes until it is told to stop."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from producers.kafka_publisher import KafkaPublisher
from runtime.clock import now_utc
from runtime.health import health_server
from runtime.lifecycle import SideTasks, run_role
from runtime.logs import configure_logs, get_logger
from runtime.metrics import watch_loop_lag
from runtime.settings import load
from schemas.errors import ConfigurationError
from stores.redis import RedisNews, RedisSignals
from workers.consuming.kafka_consumer import DRAIN_LIMIT_S, KafkaConsumer
from workers.inference.announce import announce, lanes_of
from workers.inference.batcher import Batcher
from workers.inference.cancellations import Cancellations
from workers.inference.ends import Ends
from workers.inference.intake import Intake
from workers.inference.lane import ServedLane
from workers.inference.pipeline import Pipeline
from workers.inference.repository import ModelRepository
from workers.inference.runner import Runner
from workers.inference.served import ServedModel, load_all
from workers.inference.settings import WorkerSettings

log = get_logger(__name__)

# What waits beside the micro-batch that is being filled: enough to fill the next, no more.
QUEUED_BATCHES: Final = 2
FEED_STOP_S: Final = 1.0


def run() -> None:
    settings = load(WorkerSettings)
    configure_logs(settings, "worker")
    try:
        run_role(Worker(settings).run)
    except ConfigurationError as error:
        log.error("cannot start", reason=error.message)
        raise SystemExit(2) from error


class Worker:
    """One process on one device, serving some model versions of the repository."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._consumers: dict[ServedLane, KafkaConsumer] = {}

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        redis = (settings.redis_url.get_secret_value(), settings.topic_prefix)
        async with AsyncExitStack() as stack:
            side = await stack.enter_async_context(SideTasks(stop))
            side.start(health_server(settings, {"lanes": self._why_not_ready}).serve(), "health")
            side.start(watch_loop_lag(), "loop lag")
            models = await asyncio.to_thread(self._load_models)
            publisher = await stack.enter_async_context(
                KafkaPublisher(settings, compression=settings.worker_result_compression)
            )
            signals = await stack.enter_async_context(RedisSignals(redis[0], prefix=redis[1]))
            news = await stack.enter_async_context(RedisNews(redis[0], prefix=redis[1]))
            canceled = Cancellations(now_utc)
            side.start(canceled.follow(news), "cancellations")
            versions = [model.version for model in models]
            await announce(settings, publisher, versions, settings.lane_partitions, now_utc)
            pipeline = Pipeline(self._consumers, signals, now_utc)
            lanes = self._lanes(models, canceled, Ends(publisher, settings.topics), pipeline)
            await self._serve(lanes, pipeline, side, stop)

    def _why_not_ready(self) -> str | None:
        if not self._consumers:
            return "models are being loaded"
        waiting = [str(lane.lane) for lane, consumer in self._consumers.items() if not consumer.joined]
        return f"joining {', '.join(waiting)}" if waiting else None

    def _load_models(self) -> list[ServedModel]:
        versions = ModelRepository(self._settings.model_repository).scan(self._settings.patterns)
        return load_all(versions, self._settings.worker_device)

    def _lanes(
        self, models: Sequence[ServedModel], canceled: Cancellations, ends: Ends, pipeline: Pipeline
    ) -> list[ServedLane]:
        """Both lanes of every version; the two share the version's runner."""
        built: list[ServedLane] = []
        for model in models:
            version = model.version
            runner = Runner(model.backend, version.signature, version.max_batch_size)
            built.extend(
                ServedLane(
                    lane,
                    runner,
                    Intake(lane, version.signature, canceled),
                    Batcher(version.max_batch_size, version.max_wait_s, QUEUED_BATCHES * version.max_batch_size),
                    ends,
                    group=self._settings.topics.lane_group(lane),
                    wake=pipeline.wake,
                    clock=now_utc,
                )
                for lane in lanes_of(version)
            )
        return built

    async def _serve(
        self, lanes: Sequence[ServedLane], pipeline: Pipeline, side: SideTasks, stop: asyncio.Event
    ) -> None:
        settings = self._settings
        async with AsyncExitStack() as members:
            for lane in lanes:
                topic = settings.topics.lane(lane.lane)
                group = settings.topics.lane_group(lane.lane)
                self._consumers[lane] = KafkaConsumer(settings, group, [topic], drain=lane.drain)
            await asyncio.gather(*map(members.enter_async_context, self._consumers.values()))
            feeds = [side.start(lane.feed(self._consumers[lane], stop), f"feed {lane.lane}") for lane in lanes]
            running = side.start(pipeline.run(), "pipeline")
            for consumer in self._consumers.values():
                side.start(consumer.watch(), f"watch {consumer.group}")
            log.info("serving", models=sorted({f"{lane.lane.model}/{lane.lane.version}" for lane in lanes}))
            await stop.wait()
            await self._drain(feeds, running, pipeline)
        log.info("stopped")

    @staticmethod
    async def _drain(feeds: Sequence[asyncio.Task[None]], running: asyncio.Task[None], pipeline: Pipeline) -> None:
        """Stop taking in, close no further micro-batch, and see the running ones published."""
        await asyncio.wait(feeds, timeout=FEED_STOP_S)
        running.cancel()
        for feed in feeds:
            feed.cancel()
        await asyncio.gather(running, *feeds, return_exceptions=True)
        try:
            async with asyncio.timeout(DRAIN_LIMIT_S):
                await pipeline.settle()
        except TimeoutError:
            log.warning("drain limit reached: jobs that were running will run again elsewhere")
