"""`penstock worker`: serves model versions of its repository, until it is told to stop."""

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from producers.catalog import Catalog, catalog_topic
from producers.holds import Holds, holds_topic
from producers.kafka_publisher import KafkaPublisher
from producers.model_states import model_states_topic
from producers.routes import Routes, routes_topic
from runtime.budget import MemoryBudget
from runtime.clock import now_utc
from runtime.health import Check
from runtime.lifecycle import BackgroundTasks
from runtime.logs import get_logger
from runtime.process import open_patiently, run_process, unless_stopped
from schemas.errors import ConfigurationError
from stores.blobs import Blobs
from stores.objects import ObjectBlobs
from stores.redis import RedisNews, RedisSignals, RedisStarts
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.prefetch import PrefetchShares
from workers.inference.backends.device import claim_device
from workers.inference.backends.importing_ahead import import_ahead, modules_of
from workers.inference.backends.threads import bound_pools, usable_cores
from workers.inference.backends.verified_copy import remove_abandoned
from workers.inference.backends.warmup import load_warm
from workers.inference.counting.reporting import StatsReporter
from workers.inference.counting.tally import Tallies
from workers.inference.decoding.cancellations import Cancellations
from workers.inference.engine.engine import Engine
from workers.inference.engine.inference_thread import SWITCH_INTERVAL_S, InferenceThread
from workers.inference.engine.lane import ServedLane
from workers.inference.execution.failures import DEVICE_FAILED_STATUS, DeviceFailed
from workers.inference.gpu_metrics import watched_gpu
from workers.inference.lifecycle.announce import KafkaAnnouncer, make_topics
from workers.inference.lifecycle.first_look import look_first, why_incomplete
from workers.inference.lifecycle.model_cache import ModelCache, ModelSlot
from workers.inference.lifecycle.model_loader import ModelLoader
from workers.inference.lifecycle.reconciler import ModelReconciler
from workers.inference.lifecycle.reporting import KafkaReporter, reason_for_clients
from workers.inference.lifecycle.served_version import ServedVersion, WorkerContext
from workers.inference.lifecycle.watcher import RepositoryWatch
from workers.inference.models.repository import ModelRepository, all_in_full
from workers.inference.results.publisher import ResultPublisher
from workers.inference.settings import WorkerSettings
from workers.inference.shadows.backlogs import Backlogs
from workers.inference.shadows.shadows import Shadows
from workers.moves import Moves

log = get_logger(__name__)

MODELS_PAGE: Final = "/models"
# For how long a start waits to hear of versions that were taken back, so that it runs none of their jobs.
ROUTES_WITHIN_S: Final = 5.0
# A lane fetches one large input at a time.
FETCHING_THREADS: Final = 4


def run() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        run_process("worker", WorkerSettings, Worker, lambda worker: {MODELS_PAGE: worker.models})
    except DeviceFailed as error:
        log.critical("ending, since the device failed", reason=str(error))
        raise SystemExit(DEVICE_FAILED_STATUS) from error


class Worker:
    """One process on one device, serving some model versions of the repository."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._waiting_for: str | None = "the model repository is being read"
        self._reconciler: ModelReconciler | None = None
        self._complete = False
        self._routes = Routes()
        self._catalog = Catalog()
        self._holds = Holds()
        self._routing = {
            "routes": routes_topic(settings, self._routes),
            "catalog": catalog_topic(settings, self._catalog),
            "holds": holds_topic(settings, self._holds),
        }

    @property
    def checks(self) -> Mapping[str, Check]:
        return {"lanes": self._why_not_ready, "models": self._why_incomplete}

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        redis = (settings.redis_url.get_secret_value(), settings.topic_prefix)
        async with AsyncExitStack() as stack:
            device = claim_device(settings.worker_device, os.environ)  # before anything imports a runtime
            bound_pools(os.environ, usable_cores())
            stack.enter_context(watched_gpu(device, os.environ))
            running = await stack.enter_async_context(InferenceThread())
            loading = await stack.enter_async_context(InferenceThread("loading"))
            importing = await stack.enter_async_context(InferenceThread("importing"))
            comparing = await stack.enter_async_context(InferenceThread("comparing"))
            repository = ModelRepository(settings.model_repository, trust=settings.worker_trust)
            await unless_stopped(loading.submit(remove_abandoned, status_if_left=0), stop)
            looking = partial(look_first, repository, settings.patterns)
            found = await unless_stopped(loading.submit(looking, status_if_left=0), stop)
            importing.submit(partial(import_ahead, modules_of(found)), status_if_left=0)  # beside what follows
            self._waiting_for = f"waiting for Kafka at {settings.kafka_bootstrap_servers}"
            publisher = await open_patiently(stack, self._publisher, stop)
            await unless_stopped(make_topics(settings, settings.lane_partitions), stop)
            signals = await stack.enter_async_context(RedisSignals(redis[0], prefix=redis[1]))
            news = await stack.enter_async_context(RedisNews(redis[0], prefix=redis[1]))
            starts = await stack.enter_async_context(RedisStarts(redis[0], prefix=redis[1]))
            consumers: dict[ServedLane, KafkaConsumer] = {}
            tallies = Tallies()
            blobs = await self._blobs(stack)
            stats = StatsReporter(tallies, publisher, settings.topics, now_utc)
            engine = Engine(consumers, running, signals, starts, now_utc, tell_counts=stats.tell_now)
            stack.push_async_callback(engine.abandon)
            side = await stack.enter_async_context(BackgroundTasks(stop))
            canceled = Cancellations(now_utc)
            side.start(canceled.follow(news), "cancellations")
            moves = Moves(self._routes, self._catalog)
            self._routes.listen(lambda *_: _reroute(consumers))
            self._holds.listen(lambda: _reroute(consumers))
            for name, topic in self._routing.items():
                side.start(topic.follow(), name)
            loader = ModelLoader(
                ModelCache(
                    lambda version: load_warm(version, device),
                    settings.worker_memory_bytes,
                    check_interval_s=settings.worker_check_interval_s,
                    on_wrong=partial(self._take_out, asyncio.get_running_loop()),
                ),
                bounded=settings.worker_memory_bytes > 0,
                running=running,
                loading=loading,
            )
            stack.push_async_callback(loader.close)
            memory = MemoryBudget(settings.memory_budget_bytes)
            backlogs = Backlogs(settings, self._routes, lambda: {lane.lane.model for lane in consumers})
            shadows = Shadows(
                self._routes,
                self._catalog,
                publisher,
                settings.topics,
                tallies,
                comparing,
                now_utc,
                has_room=backlogs.has_room,
            )
            around = WorkerContext(
                settings=settings,
                canceled=canceled,
                ends=ResultPublisher(publisher, settings.topics, moves.failed),
                moves=moves.waiting,
                holds=self._holds,
                wake=engine.wake,
                prepare=loader.cache.use,
                consumers=consumers,
                side=side,
                memory=memory,
                prefetch=PrefetchShares(memory),
                tallies=tallies,
                shadows=shadows,
                blobs=blobs,
            )
            reporter = KafkaReporter(settings, publisher, now_utc)
            self._reconciler = ModelReconciler(
                RepositoryWatch(repository, settings.patterns),
                loader,
                KafkaAnnouncer(settings, publisher, settings.lane_partitions, now_utc),
                lambda slot: ServedVersion(slot, around),
                side,
                interval_s=settings.worker_watch_interval_s,
                report=reporter.tell,
                for_clients=lambda error: reason_for_clients(error, settings.model_repository),
            )
            side.start(reporter.run(), "reports")
            side.start(stats.run(), "stats")
            side.start(backlogs.run(), "backlogs of shadows")
            side.start(shadows.copier.run(), "copies")
            side.start(shadows.run(), "comparing")
            side.start(shadows.findings.run(), "findings of shadows")
            await self._serve(self._reconciler, engine, side, stop)
            await asyncio.gather(reporter.leave(), stats.tell_now(), shadows.findings.tell_now())

    def models(self) -> object:
        """For operators: the names of the versions that are served, and why others are not."""
        reconciler = self._reconciler
        return {
            "served": reconciler.served if reconciler else [],
            "failed": reconciler.failed if reconciler else {},
        }

    def _why_not_ready(self) -> str | None:
        if self._waiting_for is not None or self._reconciler is None:
            return self._waiting_for
        if out := self._reconciler.out_of_service:
            return f"out of service, since they answered wrongly: {', '.join(out)}"
        absent = self._reconciler.absent
        return f"joining {', '.join(absent)}" if absent else None

    def _why_incomplete(self) -> str | None:
        """Until all is served that must be. From then on the worker is complete, whatever comes to the repository."""
        if self._complete or self._waiting_for is not None or self._reconciler is None:
            return None
        reconciler = self._reconciler
        served = len(reconciler.served)
        missed = reconciler.trouble or why_incomplete(self._settings.patterns, served, reconciler.failed)
        self._complete = missed is None
        return missed

    def _take_out(self, loop: asyncio.AbstractEventLoop, slot: ModelSlot) -> None:
        """Called in the thread in which models run."""
        if self._reconciler is not None:
            loop.call_soon_threadsafe(self._reconciler.take_out, slot)

    async def _hear_routes(self) -> None:
        """Without routes jobs run where they are, and without holds they run."""
        try:
            async with asyncio.timeout(ROUTES_WITHIN_S):
                for topic in self._routing.values():
                    await topic.caught_up.wait()
        except TimeoutError:
            log.warning("routes or holds are not known yet: jobs run where they are", waited_s=ROUTES_WITHIN_S)

    async def _blobs(self, stack: AsyncExitStack) -> Blobs | None:
        """Where inputs lie that are larger than a record, if there is such a place."""
        if self._settings.blobs_url is None:
            return None
        return await stack.enter_async_context(ObjectBlobs(self._settings.blobs_url, threads=FETCHING_THREADS))

    def _publisher(self) -> KafkaPublisher:
        return KafkaPublisher(self._settings, compression=self._settings.worker_result_compression, paced=True)

    async def _serve(
        self, reconciler: ModelReconciler, engine: Engine, side: BackgroundTasks, stop: asyncio.Event
    ) -> None:
        """Serve until `stop`; then all lanes drain, commit and leave their groups, all at the same time."""
        patterns = self._settings.patterns
        wanted = model_states_topic(self._settings, reconciler.hear)
        side.start(wanted.follow(), "model states")
        await unless_stopped(wanted.caught_up.wait(), stop)
        await unless_stopped(self._hear_routes(), stop)
        self._waiting_for = "models are being loaded"
        tasks = [side.start(engine.run(), "engine")]
        try:
            await unless_stopped(reconciler.start(), stop)
            tasks.append(side.start(reconciler.follow(), "reconciler"))
            await unless_stopped(reconciler.loaded(), stop)
            if not reconciler.served and reconciler.failed and all_in_full(patterns):
                raise ConfigurationError("; ".join(dict.fromkeys(reconciler.failed.values())))
            self._waiting_for = None
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(reconciler.leave(), *tasks, return_exceptions=True)


def _reroute(lanes: Iterable[ServedLane]) -> None:
    for lane in lanes:
        lane.reroute()
