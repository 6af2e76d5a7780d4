"""`penstock router`: moves jobs of direct producers, and those that are tried again, into their lanes."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final

from producers.catalog import Catalog, catalog_topic
from producers.holds import Holds, holds_topic
from producers.kafka_publisher import KafkaPublisher
from producers.routes import Routes, routes_topic
from runtime.budget import MemoryBudget
from runtime.clock import now_utc
from runtime.health import Check
from runtime.lifecycle import BackgroundTasks
from runtime.logs import get_logger
from runtime.process import StoppedEarly, instance_name, open_patiently, patiently, run_process, unless_stopped
from runtime.reading import InputReader
from stores.blobs import Blobs
from stores.objects import ObjectBlobs
from stores.postgres import PostgresAdmissions, require_migrated
from stores.redis import RedisReplicas
from stores.replicas import ReplicaReporter
from workers.batches import Batches
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.moves import Moves
from workers.router.asides import Aside
from workers.router.held import HeldJobs
from workers.router.large_inputs import LargeInputs
from workers.router.moving import Mover
from workers.router.pipeline import Pipeline
from workers.router.placing import Placing
from workers.router.retries import Tier
from workers.router.settings import RouterSettings

log = get_logger(__name__)

# While one batch waits for Postgres and one for Kafka, a third is read.
BATCHES_AT_ONCE: Final = 4
DRAIN_LIMIT_S: Final = 10.0


def run() -> None:
    run_process("router", RouterSettings, RouterRole)


class RouterRole:
    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings
        self._catalog = Catalog()
        self._catalog_topic = catalog_topic(settings, self._catalog)
        self._routes = Routes()
        self._routes_topic = routes_topic(settings, self._routes)
        self._holds = Holds()
        self._holds_topic = holds_topic(settings, self._holds)
        self._replicas = RedisReplicas(settings.redis_url.get_secret_value(), prefix=settings.topic_prefix)
        self._reporter = ReplicaReporter(self._replicas, instance_name(), "router", self._routes.revisions)
        self._routes.listen(lambda *_: self._reporter.news())
        topics = settings.topics
        self._consumer = KafkaConsumer(settings, topics.router_group, [topics.requests], drain_limit_s=DRAIN_LIMIT_S)
        self._aside_consumers: dict[str, KafkaConsumer] = {}  # of what waits beside the lanes
        self._mover: Mover | None = None
        self._database_trouble: str | None = "the database was not yet reached"
        self.checks: Mapping[str, Check] = {
            "database": lambda: self._database_trouble,
            "catalog": lambda: None if self._catalog_topic.caught_up.is_set() else "the catalog is being read",
            "routes": lambda: None if self._routes_topic.caught_up.is_set() else "the routes are being read",
            "holds": lambda: None if self._holds_topic.caught_up.is_set() else "the holds are being read",
            "group": lambda: self._consumer.trouble,
            "retries": self._why_no_retries,
            "moving": lambda: None if self._mover is None else self._mover.trouble,
        }

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        dsn = settings.postgres_dsn.get_secret_value()
        async with AsyncExitStack() as stack:
            await patiently(lambda: require_migrated(dsn), stop, self._tell_database_trouble)
            publisher = await open_patiently(stack, lambda: KafkaPublisher(settings, paced=True), stop)
            admissions = await open_patiently(
                stack,
                lambda: PostgresAdmissions(dsn, insert_connections=1, other_connections=BATCHES_AT_ONCE, role="router"),
                stop,
            )
            await stack.enter_async_context(self._replicas)
            side = await stack.enter_async_context(BackgroundTasks(stop))
            side.start(self._catalog_topic.follow(), "catalog")
            side.start(self._routes_topic.follow(), "routes")
            side.start(self._holds_topic.follow(), "holds")
            # Without the catalog every model is unknown, and a job of an unknown model fails for good.
            await unless_stopped(self._catalog_topic.caught_up.wait(), stop)
            await unless_stopped(self._routes_topic.caught_up.wait(), stop)
            await unless_stopped(self._holds_topic.caught_up.wait(), stop)
            side.start(self._reporter.run(), "route report")
            consumer = await open_patiently(stack, lambda: self._consumer, stop)
            side.start(consumer.watch(), "watch")
            moves = Moves(self._routes, self._catalog)
            placing = Placing(settings.topics, settings.router_lane_patience_s, moves.waiting)
            self._mover = mover = Mover(settings, publisher, self._routes, placing)
            side.start(mover.run(), "mover")
            side.start(mover.watch(), "watch mover")
            budget = MemoryBudget(settings.memory_budget_bytes)
            pipeline = Pipeline(
                consumer,
                publisher,
                admissions,
                self._catalog,
                self._routes,
                settings.topics,
                settings.limits,
                now_utc,
                placing,
                InputReader(budget),
                LargeInputs(settings, await self._blobs(stack), budget),
                holds=self._holds,
            )
            tiers = [
                Tier(number, delay_s, publisher, settings.topics, placing, now_utc)
                for number, delay_s in enumerate(settings.retry_tiers_s, 1)
            ]
            held = HeldJobs(publisher, settings.topics, placing, self._holds, now_utc)
            serving = [side.start(self._serve(each, side, stop), each.group) for each in (*tiers, held)]
            log.info("routing", topic=settings.topics.requests)
            batches = Batches(consumer, pipeline.work, largest=settings.router_batch_records, at_once=BATCHES_AT_ONCE)
            await batches.run(stop, side)
            await asyncio.wait(serving)

    async def _blobs(self, stack: AsyncExitStack) -> Blobs | None:
        url = self._settings.blobs_url
        return None if url is None else await stack.enter_async_context(ObjectBlobs(url, threads=BATCHES_AT_ONCE))

    async def _serve(self, aside: Aside, side: BackgroundTasks, stop: asyncio.Event) -> None:
        """A group for each: what waits in one is no other's business."""
        async with AsyncExitStack() as stack:
            with suppress(StoppedEarly):
                consumer = await open_patiently(
                    stack,
                    lambda: KafkaConsumer(
                        self._settings, aside.group, [aside.topic], drain=aside.drain, drain_limit_s=DRAIN_LIMIT_S
                    ),
                    stop,
                )
                self._aside_consumers[aside.group] = consumer
                side.start(consumer.watch(), f"watch {aside.group}")
                await unless_stopped(aside.run(consumer), stop)

    def _tell_database_trouble(self, why: str | None) -> None:
        self._database_trouble = why

    def _why_no_retries(self) -> str | None:
        joined = [group for group, consumer in self._aside_consumers.items() if consumer.joined]
        complete = len(joined) == len(self._settings.retry_tiers_s) + 1
        return None if complete else "joining the groups of the tiers and of what is held"
