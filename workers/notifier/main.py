"""`penstock notifier`: sends webhooks, and tries again what fails."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from runtime.budget import MemoryBudget
from runtime.clock import now_utc
from runtime.health import Check
from runtime.http_limits import fitting_connections
from runtime.lifecycle import BackgroundTasks
from runtime.logs import get_logger
from runtime.process import open_patiently, patiently, run_process
from schemas.job_documents import JobLinks
from schemas.signing import ResultLinks
from schemas.webhook_events import EventBodies
from stores.postgres import PostgresJobs, require_migrated
from stores.postgres.webhooks.endpoints import PostgresEndpoints
from stores.postgres.webhooks.queue import PostgresDeliveryQueue
from stores.sealing import KeyRing
from workers.notifier.attempts import Attempts
from workers.notifier.chores import KeyWatch, count, hear, purge, reseal
from workers.notifier.pipeline import Pipeline
from workers.notifier.recording import Recorder
from workers.notifier.requests import Requests
from workers.notifier.secrets import Secrets
from workers.notifier.sending.http_sender import HttpSender
from workers.notifier.settings import NotifierSettings

log = get_logger(__name__)

ROLE: Final = "notifier"
# A claim and a group of outcomes at a time, and one more for what is done on the side.
QUEUE_CONNECTIONS: Final = 3


def run() -> None:
    run_process(ROLE, NotifierSettings, NotifierRole)


class NotifierRole:
    def __init__(self, settings: NotifierSettings) -> None:
        self._settings = settings
        self._keys = KeyWatch(settings.webhook_key_ring)
        self._pipeline: Pipeline | None = None
        self._database_trouble: str | None = "the database was not yet reached"
        self.checks: Mapping[str, Check] = {
            "database": lambda: self._pipeline.trouble if self._pipeline else self._database_trouble,
            "keys": lambda: self._keys.trouble,
        }

    async def run(self, stop: asyncio.Event) -> None:
        settings = self._settings
        dsn = settings.postgres_dsn.get_secret_value()
        await patiently(lambda: require_migrated(dsn), stop, self._tell_database_trouble)
        async with AsyncExitStack() as stack:
            jobs = await open_patiently(stack, lambda: PostgresJobs(dsn, other_connections=1, role=ROLE), stop)
            endpoints = await open_patiently(stack, lambda: PostgresEndpoints(dsn, connections=1, role=ROLE), stop)
            queue = await open_patiently(
                stack, lambda: PostgresDeliveryQueue(dsn, connections=QUEUE_CONNECTIONS, role=ROLE), stop
            )
            sender = await stack.enter_async_context(
                HttpSender(now_utc, allow_private=settings.webhook_allow_private, proxy=settings.proxy)
            )
            recorder = await stack.enter_async_context(Recorder(queue, now_utc))
            side = await stack.enter_async_context(BackgroundTasks(stop))
            ring = KeyRing(settings.webhook_key_ring)
            secrets = Secrets(ring, endpoints, now_utc)
            requests = Requests(jobs, self._bodies(), secrets.of)
            budget = MemoryBudget(settings.memory_budget_bytes)
            attempts = Attempts(requests.of, sender, budget, now_utc)
            concurrency = fitting_connections(settings.notifier_concurrency)
            self._pipeline = pipeline = Pipeline(queue, attempts, recorder, budget, now_utc, concurrency=concurrency)
            side.start(hear(queue, pipeline.wake), "news")
            side.start(count(queue, now_utc), "count")
            side.start(self._keys.watch(endpoints), "keys")
            side.start(reseal(endpoints, ring, now_utc), "reseal")
            side.start(purge(queue, now_utc), "purge")
            log.info("notifying", attempts_at_a_time=concurrency)
            await pipeline.run(stop)

    def _bodies(self) -> EventBodies:
        settings = self._settings
        keys = list(settings.webhook_key_ring.values())
        url = settings.public_base_url
        return EventBodies(JobLinks(url), ResultLinks(keys, url), timedelta(seconds=settings.retention_s))

    def _tell_database_trouble(self, why: str | None) -> None:
        self._database_trouble = why
