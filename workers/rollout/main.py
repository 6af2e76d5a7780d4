"""`penstock rollout-controller`: keeps what workers count of each version, and moves routes by it."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from producers.kafka_publisher import KafkaPublisher
from producers.route_telling import RouteTeller
from producers.topics import ensure_topics, stats_topic, stats_windows_topic
from runtime.clock import now_utc
from runtime.health import Check
from runtime.lifecycle import BackgroundTasks
from runtime.process import open_patiently, patiently, run_process
from stores.postgres import require_migrated
from stores.postgres.feedback import PostgresFeedback
from stores.postgres.rollouts import PostgresRollouts
from stores.postgres.routes import PostgresRoutes
from stores.postgres.version_counts import PostgresVersionCounts
from stores.routes import TELL_WITHIN_S
from workers.rollout.controller import Controller
from workers.rollout.keeper import Keeper
from workers.rollout.settings import RolloutSettings
from workers.rollout.spans import SpanWriter

ROLE: Final = "rollout-controller"


def run() -> None:
    run_process(ROLE, RolloutSettings, RolloutRole)


class RolloutRole:
    def __init__(self, settings: RolloutSettings) -> None:
        self._settings = settings
        self._keeper: Keeper | None = None
        self._controller: Controller | None = None
        self._database_trouble: str | None = "the database was not yet reached"
        self._kafka_trouble: str | None = "Kafka was not yet reached"
        self.checks: Mapping[str, Check] = {
            "database": lambda: self._controller.trouble if self._controller else self._database_trouble,
            "windows": lambda: self._keeper.trouble if self._keeper else self._kafka_trouble,
        }

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        dsn = settings.postgres_dsn.get_secret_value()
        topics = [stats_topic(settings), stats_windows_topic(settings)]
        await patiently(lambda: require_migrated(dsn), stop, self._tell_database_trouble)
        await patiently(lambda: ensure_topics(settings, topics), stop, self._tell_kafka_trouble)
        async with AsyncExitStack() as stack:
            side = await stack.enter_async_context(BackgroundTasks(stop))
            self._keeper = keeper = Keeper(settings)
            side.start(keeper.run(), "windows")
            publisher = await open_patiently(stack, lambda: KafkaPublisher(settings, paced=True), stop)
            routes = await open_patiently(stack, lambda: PostgresRoutes(dsn, role=ROLE), stop)
            rollouts = await open_patiently(stack, lambda: PostgresRollouts(dsn, role=ROLE), stop)
            feedback = await open_patiently(stack, lambda: PostgresFeedback(dsn, role=ROLE), stop)
            counts = await open_patiently(stack, lambda: PostgresVersionCounts(dsn, role=ROLE), stop)
            teller = RouteTeller(routes, publisher, settings.topics, TELL_WITHIN_S)
            self._controller = Controller(
                rollouts, feedback, keeper.windows.between, lambda: keeper.read_until, teller, now_utc
            )
            judging = await stack.enter_async_context(BackgroundTasks(stop))  # ends before the parts it uses
            judging.start(self._controller.run(), "controller")
            judging.start(SpanWriter(counts, keeper.windows, lambda: keeper.read_until).run(), "spans")
            await stop.wait()

    def _tell_database_trouble(self, why: str | None) -> None:
        self._database_trouble = why

    def _tell_kafka_trouble(self, why: str | None) -> None:
        self._kafka_trouble = why
