"""`penstock sink`: makes the ends of jobs durable and wakes those who wait for them."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Final

from producers.kafka_publisher import KafkaPublisher
from producers.protocols import Publisher
from runtime.clock import now_utc
from runtime.health import Check
from runtime.lifecycle import BackgroundTasks
from runtime.logs import get_logger
from runtime.process import StoppedEarly, open_patiently, patiently, run_process
from stores.objects import ObjectBlobs
from stores.postgres import PostgresAdmissions, PostgresPurging, PostgresResults, require_migrated
from stores.postgres.feedback import PostgresFeedback
from stores.postgres.shadows import PostgresShadows
from stores.redis import RedisNews, RedisSignals
from workers.batches import Batches, Work
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.protocols import Consumer
from workers.sink.chores import mark_running, purge
from workers.sink.expirer import Expirer
from workers.sink.feedback import FeedbackPipeline
from workers.sink.pipeline import Pipeline
from workers.sink.settings import SinkSettings
from workers.sink.shadow_findings import FindingsPipeline
from workers.sink.sweeping import sweep

log = get_logger(__name__)

# One after the other: the records of a job lie in one partition in order, and the first of them is to win.
BATCHES_AT_ONCE: Final = 1
DRAIN_LIMIT_S: Final = 10.0
# What waits for its job to end is told again: nothing is lost by not waiting.
FEEDBACK_DRAIN_LIMIT_S: Final = 2.0


def run() -> None:
    run_process("sink", SinkSettings, SinkRole)


class SinkRole:
    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        topics = settings.topics
        self._consumer = KafkaConsumer(settings, topics.sink_group, [topics.results], drain_limit_s=DRAIN_LIMIT_S)
        self._findings_consumer = KafkaConsumer(
            settings, topics.shadows_group, [topics.shadows], drain_limit_s=DRAIN_LIMIT_S
        )
        self._feedback_consumer = KafkaConsumer(
            settings, topics.feedback_group, [topics.feedback], drain_limit_s=FEEDBACK_DRAIN_LIMIT_S
        )
        self._database_trouble: str | None = "the database was not yet reached"
        self.checks: Mapping[str, Check] = {
            "database": lambda: self._database_trouble,
            "group": lambda: self._consumer.trouble,
            "shadows": lambda: self._findings_consumer.trouble,
            "feedback": lambda: self._feedback_consumer.trouble,
        }

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        redis_url = settings.redis_url.get_secret_value()
        async with AsyncExitStack() as stack:
            dsn = settings.postgres_dsn.get_secret_value()
            retention = timedelta(seconds=settings.retention_s)
            await patiently(lambda: require_migrated(dsn), stop, self._tell_database_trouble)
            publisher = await open_patiently(stack, lambda: KafkaPublisher(settings, paced=True), stop)
            endings = await open_patiently(
                stack,
                lambda: PostgresResults(dsn, finishing_connections=BATCHES_AT_ONCE, retention=retention, role="sink"),
                stop,
            )
            signals = await stack.enter_async_context(RedisSignals(redis_url, prefix=settings.topic_prefix))
            news = await stack.enter_async_context(RedisNews(redis_url, prefix=settings.topic_prefix))
            side = await stack.enter_async_context(BackgroundTasks(stop))
            expirer = Expirer(
                endings,
                publisher,
                settings.topics,
                now_utc,
                grace_s=settings.sink_expiry_grace_s,
                interval_s=settings.sink_expiry_interval_s,
            )
            side.start(expirer.run(), "expirer")
            side.start(mark_running(news, endings), "running")
            side.start(
                purge(PostgresPurging(dsn, retention, role="sink"), now_utc, settings.sink_purge_interval_s), "purge"
            )
            await self._sweep(stack, side, stop)
            consumer = await open_patiently(stack, lambda: self._consumer, stop)
            side.start(consumer.watch(), "watch")
            pipeline = Pipeline(consumer, publisher, endings, signals, settings.topics.sink_group, now_utc)
            log.info("sinking", topic=settings.topics.results)
            hearing = side.start(self._hear(dsn, publisher, side, stop), "feedback")
            keeping = side.start(self._keep_findings(dsn, publisher, side, stop), "findings of shadows")
            await self._batches(consumer, pipeline.work).run(stop, side)
            await asyncio.wait([hearing, keeping])

    async def _sweep(self, stack: AsyncExitStack, side: BackgroundTasks, stop: asyncio.Event) -> None:
        """Inputs that lie in the blob store go with their jobs."""
        if self._settings.blobs_url is None:
            return
        dsn = self._settings.postgres_dsn.get_secret_value()
        blobs = await stack.enter_async_context(ObjectBlobs(self._settings.blobs_url, threads=1))
        jobs = await open_patiently(
            stack, lambda: PostgresAdmissions(dsn, insert_connections=1, other_connections=1, role="sink"), stop
        )
        side.start(sweep(blobs, jobs, now_utc), "sweep")

    async def _hear(self, dsn: str, publisher: Publisher, side: BackgroundTasks, stop: asyncio.Event) -> None:
        """In a group of its own: what waits for its job to end keeps no end of a job waiting."""
        async with AsyncExitStack() as stack:
            with suppress(StoppedEarly):
                store = await open_patiently(stack, lambda: PostgresFeedback(dsn, role="sink"), stop)
                consumer = await open_patiently(stack, lambda: self._feedback_consumer, stop)
                side.start(consumer.watch(), "watch feedback")
                pipeline = FeedbackPipeline(consumer, publisher, store, self._settings.topics.feedback_group, now_utc)
                await self._batches(consumer, pipeline.work).run(stop, side)

    async def _keep_findings(self, dsn: str, publisher: Publisher, side: BackgroundTasks, stop: asyncio.Event) -> None:
        """In a group of its own, too."""
        async with AsyncExitStack() as stack:
            with suppress(StoppedEarly):
                store = await open_patiently(stack, lambda: PostgresShadows(dsn, role="sink"), stop)
                consumer = await open_patiently(stack, lambda: self._findings_consumer, stop)
                side.start(consumer.watch(), "watch findings of shadows")
                pipeline = FindingsPipeline(consumer, publisher, store, self._settings.topics.shadows_group)
                await self._batches(consumer, pipeline.work).run(stop, side)

    def _batches(self, consumer: Consumer, work: Work) -> Batches:
        return Batches(consumer, work, largest=self._settings.sink_batch_records, at_once=BATCHES_AT_ONCE)

    def _tell_database_trouble(self, why: str | None) -> None:
        self._database_trouble = why
