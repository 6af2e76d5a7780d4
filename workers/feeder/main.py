"""`penstock feeder`: brings batches into their lanes, window by window, and writes down what they gave."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from producers.catalog import Catalog, catalog_topic
from producers.kafka_publisher import KafkaPublisher
from producers.routes import Routes, routes_topic
from runtime.clock import now_utc
from runtime.health import Check
from runtime.lifecycle import BackgroundTasks
from runtime.logs import get_logger
from runtime.process import open_patiently, patiently, run_process, unless_stopped
from schemas.errors import ConfigurationError
from schemas.records import RECORD_HEADERS_BYTES
from stores.objects import ObjectBlobs
from stores.postgres import PostgresJobs, require_migrated
from stores.postgres.batches.batches import PostgresBatches
from stores.postgres.batches.files import PostgresFiles
from stores.postgres.batches.work import PostgresBatchWork
from stores.postgres.promises import PostgresPromises
from stores.protocols import JobKey
from stores.redis import RedisNews, RedisSignals
from workers.feeder.feed import Seams
from workers.feeder.feeder import Feeder
from workers.feeder.leading import Leading
from workers.feeder.settings import FeederSettings

log = get_logger(__name__)

ROLE: Final = "feeder"
NO_BLOBS: Final = "PENSTOCK_BLOBS_URL is not set: a feeder reads batches from there"


def run() -> None:
    run_process(ROLE, FeederSettings, FeederRole)


class FeederRole:
    def __init__(self, settings: FeederSettings) -> None:
        if settings.blobs_url is None:
            raise ConfigurationError(NO_BLOBS)
        self._settings = settings
        self._blobs = ObjectBlobs(settings.blobs_url)
        self._catalog = Catalog()
        self._catalog_topic = catalog_topic(settings, self._catalog)
        self._routes = Routes()
        self._routes_topic = routes_topic(settings, self._routes)
        self._leading: Leading | None = None
        self._database_trouble: str | None = "the database was not yet reached"
        self.checks: Mapping[str, Check] = {
            "database": lambda: self._leading.trouble if self._leading else self._database_trouble,
            "catalog": lambda: None if self._catalog_topic.caught_up.is_set() else "the catalog is being read",
            "routes": lambda: None if self._routes_topic.caught_up.is_set() else "the routes are being read",
        }

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        dsn = settings.postgres_dsn.get_secret_value()
        redis_url, prefix = settings.redis_url.get_secret_value(), settings.topic_prefix
        async with AsyncExitStack() as stack:
            await patiently(lambda: require_migrated(dsn), stop, self._tell_database_trouble)
            blobs = await stack.enter_async_context(self._blobs)
            publisher = await open_patiently(stack, lambda: KafkaPublisher(settings), stop)
            jobs = await open_patiently(stack, lambda: PostgresJobs(dsn, role=ROLE), stop)
            files = await open_patiently(stack, lambda: PostgresFiles(dsn, connections=1, role=ROLE), stop)
            batches = await open_patiently(stack, lambda: PostgresBatches(dsn, connections=1, role=ROLE), stop)
            work = await open_patiently(stack, lambda: PostgresBatchWork(dsn, role=ROLE), stop)
            promises = await open_patiently(stack, lambda: PostgresPromises(dsn, connections=1, role=ROLE), stop)
            signals = await open_patiently(stack, lambda: RedisSignals(redis_url, prefix=prefix), stop)
            news = await open_patiently(stack, lambda: RedisNews(redis_url, prefix=prefix), stop)
            side = await stack.enter_async_context(BackgroundTasks(stop))
            side.start(self._catalog_topic.follow(), "catalog")
            side.start(self._routes_topic.follow(), "routes")
            await unless_stopped(self._catalog_topic.caught_up.wait(), stop)
            await unless_stopped(self._routes_topic.caught_up.wait(), stop)
            seams = Seams(
                work, blobs, publisher, settings.topics, now_utc, settings.max_record_bytes - RECORD_HEADERS_BYTES
            )
            feeder = Feeder(
                seams,
                files,
                batches,
                jobs,
                signals,
                self._catalog,
                self._routes,
                promises,
                window_s=settings.feeder_window_s,
                most_lines=settings.batch_max_lines,
            )
            side.start(_hear(news, feeder), "news")
            self._leading = leading = Leading(work)
            await leading.run(feeder.feed, stop)

    def _tell_database_trouble(self, why: str | None) -> None:
        self._database_trouble = why


async def _hear(news: RedisNews, feeder: Feeder) -> None:
    async for ended in news.done():
        feeder.tell_done([key for key in ended if isinstance(key, JobKey)])
