"""The parts of the gateway that know routes and rollouts: what it follows, changes, compares, and tells of itself."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

from gateway.comparing import Comparisons
from gateway.rollout_control import RolloutControl
from gateway.route_control import RouteControl
from gateway.route_repairs import RouteRepairs, ToldRevisions
from gateway.route_replicas import RouteReplicas
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from producers.control_topic import ControlTopic
from producers.protocols import Publisher
from producers.route_telling import RouteTeller
from producers.routes import Routes
from runtime.clock import now_utc
from runtime.lifecycle import BackgroundTasks
from runtime.process import instance_name
from stores.postgres.feedback import PostgresFeedback
from stores.postgres.rollouts import PostgresRollouts
from stores.postgres.routes import PostgresRoutes
from stores.postgres.shadows import PostgresShadows
from stores.postgres.version_counts import PostgresVersionCounts
from stores.redis import RedisReplicas
from stores.replicas import ReplicaReporter
from stores.routes import TELL_WITHIN_S


class RouteParts:
    """Use as `async with`; raises what Postgres does when it is opened.

    `topic` is to be followed from the start, into `followed`; the rest once all is open, by `start`.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        publisher: Publisher,
        serving: Serving,
        followed: Routes,
        is_stopping: Callable[[], bool],
    ) -> None:
        told = ToldRevisions(followed)
        self.topic = ControlTopic(settings, settings.topics.routes, told.apply, take_back=told.take_away, reading=told)
        dsn = settings.postgres_dsn.get_secret_value()
        # Routes change seldom, as comparisons are seldom read: no start waits for connections that most gateways never
        # need.
        self._store = PostgresRoutes(dsn, role="gateway", ahead=False)
        self._rollout_store = PostgresRollouts(dsn, role="gateway", ahead=False)
        self._redis = RedisReplicas(settings.redis_url.get_secret_value(), prefix=settings.topic_prefix)
        self.shadows = PostgresShadows(dsn, role="gateway", ahead=False)
        self.feedback = PostgresFeedback(dsn, role="gateway")
        self._counts = PostgresVersionCounts(dsn, role="gateway", ahead=False)
        teller = RouteTeller(self._store, publisher, settings.topics, TELL_WITHIN_S)
        self._repairs = RouteRepairs(self._store, teller, told, followed, self.topic.caught_up)
        self._reporter = ReplicaReporter(self._redis, instance_name(), "gateway", followed.revisions)
        followed.listen(lambda *_: self._reporter.news())
        self.control = RouteControl(self._store, teller, serving, followed)
        self.rollouts = RolloutControl(self._rollout_store, teller, serving, followed, now_utc)
        self.comparisons = Comparisons(self._counts, self.feedback, serving, now_utc)
        self.replicas = RouteReplicas(self._redis, is_stopping)
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self._store)
            await opening.enter_async_context(self._rollout_store)
            await opening.enter_async_context(self.shadows)
            await opening.enter_async_context(self.feedback)
            await opening.enter_async_context(self._counts)
            await opening.enter_async_context(self._redis)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    def start(self, tasks: BackgroundTasks) -> None:
        tasks.start(self._repairs.run(), "route repairs")
        tasks.start(self._reporter.run(), "route report")
