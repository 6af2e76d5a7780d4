"""Many endpoints and deliveries, written at once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec

from schemas.webhooks import Limits
from stores.memory import MemoryJobs
from stores.memory_webhook_state import WebhookState
from tests.contracts.stores.building import Clock
from tests.contracts.stores.webhook_stores import Webhooks, webhook_stores
from tests.integration.stores.migrating import session
from tests.webhooks import NOW, delivery

# They have answered well before.
_REGISTER = """
with named as (
    insert into webhook_endpoints
        (id, tenant, name, url, event_types, payload, ordered, limits, secrets, created_at, updated_at)
    select name, name, name, 'https://example.com/' || name, '{}', 'full', $4, $2::json, '[]', $3, $3
    from unnest($1::text[]) as name
    returning id, tenant
)
insert into webhook_targets (id, tenant, since, succeeded_at) select id, tenant, $3, $3 from named
"""


class Load(Protocol):
    async def __call__(self, names: Sequence[str], each: int, **fields: Any) -> None: ...


@asynccontextmanager
async def postgres_webhooks(dsn: str) -> AsyncIterator[Webhooks]:
    async with webhook_stores(dsn, MemoryJobs(), Clock(), WebhookState()) as webhooks:
        yield webhooks


async def register(dsn: str, names: Sequence[str], *, limits: Limits | None = None, ordered: bool = False) -> None:
    """Endpoints that have answered well before, each of a tenant that is called as it is."""
    async with session(dsn) as connection:
        limits_json = msgspec.json.encode(limits or Limits()).decode()
        await connection.execute(_REGISTER, list(names), limits_json, NOW, ordered)


async def load(webhooks: Webhooks, names: Sequence[str], each: int, **fields: Any) -> None:
    """So many deliveries for each of them, one round after the other."""
    await webhooks.write([delivery(name, tenant=name, **fields) for _ in range(each) for name in names])
