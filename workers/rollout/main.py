"""`penstock rollout-controller`: keeps what workers count of each version, and moves routes by it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

from producers.holds import Holds, holds_topic
from producers.kafka_publisher import KafkaPublisher
from producers.route_telling import RouteTeller
from producers.routes import Routes, routes_topic
from producers.topics import control_topic, ensure_topics, stats_topic, stats_windows_topic
from runtime.health import Check
from runtime.lifecycle import BackgroundTasks
from runtime.process import open_patiently, patiently, run_process, unless_stopped
from schemas.holds import because
from schemas.rollouts import Rollout
from schemas.topics import Lane
from stores.postgres import require_migrated
from stores.postgres.feedback import PostgresFeedback
from stores.postgres.rollouts import PostgresRollouts
from stores.postgres.routes import PostgresRoutes
from stores.postgres.version_counts import PostgresVersionCounts
from stores.routes import TELL_WITHIN_S
from workers.rollout.controller import Controller
from workers.rollout.judging.evidence import Around
from workers.rollout.keeper import Keeper
from workers.rollout.looking import LANE
from workers.rollout.serving import ServingWorkers
from workers.rollout.settings import RolloutSettings
from workers.rollout.spans import SpanWriter

ROLE: Final = "rollout-controller"


def run() -> None:
    run_process(ROLE, RolloutSettings, RolloutRole)


class RolloutRole:
    def __init__(self, settings: RolloutSettings) -> None:
        self._settings = settings
        self._followed = Routes()
        self._routes_topic = routes_topic(settings, self._followed)
        self._holds = Holds()
        self._holds_topic = holds_topic(settings, self._holds)
        self._workers = ServingWorkers(settings)
        self._keeper: Keeper | None = None
        self._controller: Controller | None = None
        self._database_trouble: str | None = "the database was not yet reached"
        self._kafka_trouble: str | None = "Kafka was not yet reached"
        self.checks: Mapping[str, Check] = {
            "database": lambda: self._controller.trouble if self._controller else self._database_trouble,
            "routes": lambda: None if self._routes_topic.caught_up.is_set() else "the routes are being read",
            "holds": lambda: None if self._holds_topic.caught_up.is_set() else "the holds are being read",
            "windows": lambda: self._keeper.trouble if self._keeper else self._kafka_trouble,
        }

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        dsn = settings.postgres_dsn.get_secret_value()
        followed = [control_topic(settings, topic) for topic in (settings.topics.routes, settings.topics.holds)]
        topics = [stats_topic(settings), stats_windows_topic(settings), *followed]
        await patiently(lambda: require_migrated(dsn), stop, self._tell_database_trouble)
        await patiently(lambda: ensure_topics(settings, topics), stop, self._tell_kafka_trouble)
        async with AsyncExitStack() as stack:
            side = await stack.enter_async_context(BackgroundTasks(stop))
            self._keeper = keeper = Keeper(settings)
            side.start(keeper.run(), "windows")
            side.start(self._routes_topic.follow(), "routes")
            side.start(self._holds_topic.follow(), "holds")
            side.start(self._workers.run(), "workers")
            publisher = await open_patiently(stack, lambda: KafkaPublisher(settings, paced=True), stop)
            routes = await open_patiently(stack, lambda: PostgresRoutes(dsn, role=ROLE), stop)
            rollouts = await open_patiently(stack, lambda: PostgresRollouts(dsn, role=ROLE), stop)
            feedback = await open_patiently(stack, lambda: PostgresFeedback(dsn, role=ROLE), stop)
            counts = await open_patiently(stack, lambda: PostgresVersionCounts(dsn, role=ROLE), stop)
            teller = RouteTeller(routes, publisher, settings.topics, TELL_WITHIN_S)
            # What is written must be above what gateways go by, of which the database may know nothing.
            await unless_stopped(self._routes_topic.caught_up.wait(), stop)
            # Nor may a rollout go on whose jobs are held.
            await unless_stopped(self._holds_topic.caught_up.wait(), stop)
            self._controller = Controller(
                rollouts,
                feedback,
                keeper.windows.between,
                lambda: keeper.read_until,
                teller,
                keeper.now,
                lambda rollout: self._around(rollout, keeper),
            )
            judging = await stack.enter_async_context(BackgroundTasks(stop))  # ends before the parts it uses
            judging.start(self._controller.run(), "controller")
            judging.start(SpanWriter(counts, keeper.windows, lambda: keeper.read_until).run(), "spans")
            await stop.wait()

    def _around(self, rollout: Rollout, keeper: Keeper) -> Around:
        model, version = rollout.plan.model, rollout.plan.version
        return Around(
            workers=self._workers.of(model, version),
            clock=keeper.clocks.wrong(model, (rollout.stable, version), keeper.now().timestamp()),
            followed=self._followed.revision(model),
            held=self._held(model, (rollout.stable, version)),
        )

    def _held(self, model: str, versions: Sequence[str]) -> str | None:
        """What is told of the hold that has jobs of one of the versions wait."""
        holds = [self._holds.now.pausing(Lane(model, version, LANE)) for version in versions]
        return next((f"an operator holds the jobs of {hold}{because(hold)}" for hold in holds if hold), None)

    def _tell_database_trouble(self, why: str | None) -> None:
        self._database_trouble = why

    def _tell_kafka_trouble(self, why: str | None) -> None:
        self._kafka_trouble = why
