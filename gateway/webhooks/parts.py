"""The parts of the gateway that know webhooks: their stores, and what routes make of these."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final, Self

from gateway.settings import GatewaySettings
from gateway.waiters import Waiters
from gateway.webhooks.services import WebhookStores, webhooks_of
from runtime.clock import now_utc
from runtime.lifecycle import BackgroundTasks
from schemas.job_documents import JobLinks
from schemas.signing import ResultLinks
from schemas.webhook_events import EventBodies
from stores.postgres.webhooks.endpoints import PostgresEndpoints
from stores.postgres.webhooks.log import PostgresDeliveryLog
from stores.postgres.webhooks.pulled import PostgresPulledEvents
from stores.protocols import Jobs
from stores.sealing import KeyRing

# Receivers that pull come often.
PULL_CONNECTIONS: Final = 2


class WebhookParts:
    """Use as `async with`. All connections are opened by the first who needs them: most gateways never do."""

    def __init__(self, settings: GatewaySettings, jobs: Jobs, waiters: Waiters) -> None:
        dsn = settings.postgres_dsn.get_secret_value()
        self._endpoints = PostgresEndpoints(dsn, role="gateway", ahead=False)
        self._log = PostgresDeliveryLog(dsn, role="gateway")
        self._pulled = PostgresPulledEvents(dsn, role="gateway", connections=PULL_CONNECTIONS)
        keys = settings.webhook_key_ring
        links = ResultLinks(list(keys.values()), settings.public_base_url)
        self.webhooks = webhooks_of(
            WebhookStores(endpoints=self._endpoints, log=self._log, pulled=self._pulled),
            jobs=jobs,
            waiters=waiters,
            keys=KeyRing(keys),
            links=links,
            bodies=EventBodies(JobLinks(settings.public_base_url), links, timedelta(seconds=settings.retention_s)),
            allow_private=settings.webhook_allow_private,
            now=now_utc,
        )
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for store in (self._endpoints, self._log, self._pulled):
                await opening.enter_async_context(store)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    def start(self, tasks: BackgroundTasks) -> None:
        tasks.start(self.webhooks.due.run(), "due events")
