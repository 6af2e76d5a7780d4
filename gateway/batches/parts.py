"""The parts of the gateway that know files and batches: their stores, and what routes make of these."""

from contextlib import AsyncExitStack
from typing import Self

from gateway.batches.services import NoBatching, WithBatching, batching_of
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from producers.routes import Routes
from runtime.clock import now_utc
from stores.objects import ObjectBlobs
from stores.postgres.batches.batches import PostgresBatches
from stores.postgres.batches.files import PostgresFiles
from stores.postgres.promises import PostgresPromises


class BatchParts:
    """Use as `async with`. Connections are opened by the first who needs one."""

    def __init__(self, settings: GatewaySettings, serving: Serving, routes: Routes) -> None:
        dsn = settings.postgres_dsn.get_secret_value()
        self.batching: NoBatching | WithBatching = NoBatching()
        self._stores: list[PostgresFiles | PostgresBatches | PostgresPromises | ObjectBlobs] = []
        self._opened = AsyncExitStack()
        self.blobs: ObjectBlobs | None = None
        if settings.blobs_url is not None:
            files = PostgresFiles(dsn, connections=2, role="gateway", ahead=False)
            batches = PostgresBatches(dsn, connections=2, role="gateway", ahead=False)
            promises = PostgresPromises(dsn, connections=1, role="gateway", ahead=False)
            self.blobs = blobs = ObjectBlobs(settings.blobs_url, threads=2 * settings.gateway_max_uploads)
            self._stores = [files, batches, promises, blobs]
            self.batching = WithBatching(
                batching_of(
                    files,
                    batches,
                    blobs,
                    promises,
                    serving,
                    routes,
                    now_utc,
                    most_bytes=settings.batch_max_file_bytes,
                    at_once=settings.gateway_max_uploads,
                )
            )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for store in self._stores:
                await opening.enter_async_context(store)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()
