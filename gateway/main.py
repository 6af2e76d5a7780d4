"""`penstock gateway`: HTTP in, HTTP out."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from typing import Final

from gateway.answers import Links
from gateway.app import GatewayApp
from gateway.batches.parts import BatchParts
from gateway.hold_parts import HoldParts
from gateway.lane_depth import LaneDepths
from gateway.lane_poller import LanePoller
from gateway.metrics import IN_FLIGHT, WAITERS
from gateway.model_control import ModelControl
from gateway.problems import render_problem
from gateway.route_parts import RouteParts
from gateway.services import Services
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from gateway.submissions import READ_WITHIN_S, Submissions
from gateway.waiters import Waiters
from gateway.webhooks.parts import WebhookParts
from producers.catalog import Catalog, catalog_topic
from producers.holds import Holds
from producers.kafka_publisher import KafkaPublisher
from producers.lane_members import LaneMembers
from producers.model_states import ModelStates, model_states_topic
from producers.routes import Routes
from producers.worker_reports import WorkerReports, worker_reports_topic
from runtime.budget import MemoryBudget
from runtime.clock import now_utc
from runtime.health import Check
from runtime.http_limits import Connections, HttpLimits, fitting_connections
from runtime.http_server import LimitedServer, show
from runtime.lifecycle import BackgroundTasks, run_role, spare_the_collector
from runtime.logs import configure_logs, get_logger
from runtime.metrics import watch_loop_lag
from runtime.process import StoppedEarly, listen, open_patiently, patiently, unless_stopped
from runtime.reading import InputReader
from runtime.settings import load
from schemas.errors import ConfigurationError, StoreUnavailable
from schemas.names import DEFAULT_TENANT
from schemas.topics import Lane, LaneClass
from stores.postgres import PostgresAdmissions, PostgresJobs, require_migrated
from stores.protocols import JobKey
from stores.redis import RedisNews, RedisSignals

log = get_logger(__name__)

BACKLOG: Final = 2048
# Of the connections: the others are for requests that are answered at once.
WAITING_SHARE: Final = 0.75
PROBE_EVERY_S: Final = 2.0
PROBE_TIMEOUT_S: Final = 5.0
# A lookup that touches the table and finds nothing.
NOBODY: Final = JobKey(DEFAULT_TENANT, "probe")
# Requests leave no cycles behind; looking for some after every 700 allocations costs a quarter of a submit.
GC_THRESHOLDS: Final = (20_000, 20, 50)
NO_REDIS: Final = "Redis cannot be reached: whoever waits for a job is answered up to a quarter of a second late"


def run() -> None:
    """Serve until a signal. Exits with 2, every mistake told at once, where the settings are wrong."""
    settings = load(GatewaySettings)
    configure_logs(settings, "gateway")
    try:
        run_role(partial(serve, settings))
    except ConfigurationError as error:
        log.error("cannot start", reason=error.message)
        raise SystemExit(2) from error


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Answer on the port from the first moment; be ready once every part is open; at `stop` finish what has begun."""
    with listening(settings) as listeners:
        gateway = Gateway(settings)
        app = GatewayApp(gateway.checks)
        server = LimitedServer(app, gateway.connections, drain_timeout_s=settings.gateway_drain_timeout_s)
        show(gateway.connections)
        serving = asyncio.create_task(server.serve(sockets=listeners), name="http")
        serving.add_done_callback(lambda _: stop.set())
        addresses = ["{}:{}".format(*listener.getsockname()[:2]) for listener in listeners]
        log.info("listening", address=", ".join(addresses), url=settings.public_base_url)
        try:
            async with AsyncExitStack() as stack:
                await gateway.run(app, server, serving, stack, stop)
        finally:
            server.should_exit = True
            await serving
    log.info("stopped")


class Gateway:
    """The parts of the gateway, and the order in which they are opened and closed."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._budget = MemoryBudget(settings.memory_budget_bytes)
        self.connections = Connections(http_limits(settings), self._budget, render_problem)
        self._dsn = dsn = settings.postgres_dsn.get_secret_value()
        redis_url, prefix = settings.redis_url.get_secret_value(), settings.topic_prefix
        self._publisher = KafkaPublisher(settings, paced=True)
        self._admissions = PostgresAdmissions(dsn, role="gateway")
        self._jobs = PostgresJobs(dsn, role="gateway")
        self._signals = RedisSignals(redis_url, prefix=prefix)
        self._news = RedisNews(redis_url, prefix=prefix)
        self._catalog = Catalog(clock_s=time.monotonic)
        self._catalog_topic = catalog_topic(settings, self._catalog)
        self._routes = Routes()
        self._holds = Holds()
        self._states = ModelStates()
        self._states_topic = model_states_topic(settings, self._states.apply)
        self._depths = LaneDepths(settings.gateway_max_lane_depth)
        reports = WorkerReports(time.monotonic)
        self._reports_topic = worker_reports_topic(settings, reports)
        members = LaneMembers(settings.topics, time.monotonic)
        self._poller = LanePoller(settings, self._depths, self._lanes, members)
        self._serving = Serving(self._catalog, self._states, reports, members.workers, self._routes, self._holds)
        self._route_parts = RouteParts(
            settings, self._publisher, self._serving, self._routes, lambda: self._waiters.draining
        )
        self._hold_parts = HoldParts(settings, self._publisher, self._serving, self._holds, self._signals)
        self._postgres_trouble: str | None = "Postgres has not been asked yet"
        self._waiters = Waiters(self._jobs, self._news, limit=self._most_waiters())
        self._webhook_parts = WebhookParts(settings, self._jobs, self._waiters)
        self._batch_parts = BatchParts(settings, self._serving, self._routes)
        reader = InputReader(self._budget, patience_s=READ_WITHIN_S)
        self._submissions = Submissions(
            settings,
            self._serving,
            self._routes,
            self._depths,
            self._admissions,
            self._publisher,
            reader,
            now_utc,
            store_trouble=lambda: self._postgres_trouble,
            blobs=self._batch_parts.blobs,
        )
        self._stopping = False
        self.checks: dict[str, Check] = {
            "catalog": lambda: None if self._catalog_topic.caught_up.is_set() else "the catalog is being read",
            "routes": lambda: None if self._route_parts.topic.caught_up.is_set() else "the routes are being read",
            "holds": lambda: None if self._hold_parts.topic.caught_up.is_set() else "the holds are being read",
            "postgres": lambda: self._postgres_trouble,
            "kafka": lambda: self._poller.trouble,
            "running": lambda: "stopping" if self._stopping else None,
        }

    async def run(
        self,
        app: GatewayApp,
        server: LimitedServer,
        serving: "asyncio.Task[None]",
        stack: AsyncExitStack,
        stop: asyncio.Event,
    ) -> None:
        beside = await stack.enter_async_context(BackgroundTasks(stop))
        beside.start(watch_loop_lag(), "loop lag")
        beside.start(self._catalog_topic.follow(), "catalog")
        beside.start(self._route_parts.topic.follow(), "routes")
        beside.start(self._hold_parts.topic.follow(), "holds")
        beside.start(self._states_topic.follow(), "model states")
        beside.start(self._reports_topic.follow(), "worker reports")
        beside.start(self._poller.run(), "lane depths")
        try:
            await patiently(lambda: require_migrated(self._dsn), stop, self._hear_of_postgres)
            await open_patiently(stack, lambda: self._publisher, stop)
            await open_patiently(stack, lambda: self._admissions, stop)
            await open_patiently(stack, lambda: self._jobs, stop)
            await open_patiently(stack, lambda: self._signals, stop)
            await open_patiently(stack, lambda: self._news, stop)
            await open_patiently(stack, lambda: self._route_parts, stop)
            await open_patiently(stack, lambda: self._hold_parts, stop)
            await open_patiently(stack, lambda: self._webhook_parts, stop)
            await open_patiently(stack, lambda: self._batch_parts, stop)
            # A version is chosen once: none by the default while the model may have a route. Nor is a job taken that
            # is to be refused.
            await unless_stopped(self._route_parts.topic.caught_up.wait(), stop)
            await unless_stopped(self._hold_parts.topic.caught_up.wait(), stop)
        except StoppedEarly:
            return
        using = await stack.enter_async_context(BackgroundTasks(stop))  # these end before the parts they use
        using.start(self._ask_postgres(), "store probe")
        using.start(self._waiters.follow(), "news")
        self._route_parts.start(using)
        self._hold_parts.start(using)
        self._webhook_parts.start(using)
        app.open(self._services())
        IN_FLIGHT.set_function(lambda: app.admitting.in_flight)
        WAITERS.set_function(lambda: len(self._waiters))
        spare_the_collector(*GC_THRESHOLDS)
        await stop.wait()
        self._stopping = True
        self._waiters.drain()
        server.should_exit = True
        await serving
        await self._submissions.drain(self._settings.gateway_drain_timeout_s)

    async def _ask_postgres(self) -> None:
        """Every now and then, for readiness."""
        while True:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await self._jobs.get(NOBODY)
                self._postgres_trouble = None
            except StoreUnavailable as error:
                self._postgres_trouble = error.message
            except TimeoutError:
                self._postgres_trouble = "Postgres does not answer"
            await asyncio.sleep(PROBE_EVERY_S)

    def _hear_of_postgres(self, trouble: str | None) -> None:
        """While parts are opened. That there is none is for the probe to say."""
        self._postgres_trouble = trouble or self._postgres_trouble

    def _most_waiters(self) -> int:
        return min(self._settings.gateway_max_waiters, int(WAITING_SHARE * self.connections.limits.connections))

    def _services(self) -> Services:
        settings = self._settings
        return Services(
            settings=settings,
            links=Links(settings.public_base_url),
            serving=self._serving,
            life=ModelControl(self._publisher, settings.topics, self._catalog, self._states, now_utc),
            route_control=self._route_parts.control,
            route_replicas=self._route_parts.replicas,
            rollouts=self._route_parts.rollouts,
            shadows=self._route_parts.shadows,
            feedback=self._route_parts.feedback,
            comparisons=self._route_parts.comparisons,
            holds=self._hold_parts.control,
            webhooks=self._webhook_parts.webhooks,
            batching=self._batch_parts.batching,
            budget=self._budget,
            submissions=self._submissions,
            jobs=self._jobs,
            signals=self._signals,
            waiters=self._waiters,
            now=now_utc,
            checks=self.checks,
            hints={
                "redis": lambda: None if self._news.connected else NO_REDIS,
                "lanes": lambda: self._poller.unknown,
            },
        )

    def _lanes(self) -> list[Lane]:
        models = self._catalog.snapshot.models
        return [
            Lane(model, version, cls) for model, versions in models.items() for version in versions for cls in LaneClass
        ]


def http_limits(settings: GatewaySettings) -> HttpLimits:
    return HttpLimits(
        connections=fitting_connections(settings.gateway_max_connections),
        head_timeout_s=settings.gateway_head_timeout_s,
        idle_timeout_s=settings.gateway_idle_timeout_s,
        min_bytes_per_s=settings.gateway_min_bytes_per_s,
    )


@contextmanager
def listening(settings: GatewaySettings) -> Iterator[list[socket.socket]]:
    """The gateway's sockets: of its own port, and of the one that it shares. Raises `ConfigurationError`."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listen(settings.gateway_host, "gateway_port", settings.gateway_port))]
        shared = settings.gateway_shared_port
        if shared is not None:
            listening = _listen(settings.gateway_host, "gateway_shared_port", shared, shared=True)
            listeners.append(stack.enter_context(listening))
        yield listeners


def _listen(host: str, name: str, port: int, *, shared: bool = False) -> socket.socket:
    try:
        return listen(host, port, BACKLOG, shared=shared)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this system shares no ports"
        raise ConfigurationError(f"PENSTOCK_{name.upper()}: cannot listen on {host}:{port}: {reason}") from error
