"""The stores of webhooks side by side, and a way to put deliveries into them as they are wanted."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import asyncpg
import msgspec

from runtime.clock import Clock
from schemas.webhooks import Delivery, Endpoint
from stores.memory_webhook_log import MemoryDeliveryLog
from stores.memory_webhook_pulled import MemoryPulledEvents
from stores.memory_webhook_queue import MemoryDeliveryQueue
from stores.memory_webhook_state import WebhookState
from stores.memory_webhooks import MemoryEndpoints
from stores.postgres.webhooks.endpoints import PostgresEndpoints
from stores.postgres.webhooks.log import PostgresDeliveryLog
from stores.postgres.webhooks.pulled import PostgresPulledEvents
from stores.postgres.webhooks.queue import PostgresDeliveryQueue
from stores.protocols import Jobs
from stores.webhooks import Change, Claim, Claims, DeliveryLog, DeliveryQueue, Endpoints, PulledEvents, Verdict
from tests.webhooks import NOW, delivery, endpoint, outcome

_WRITE = """
with placed as (
    insert into webhook_targets (id, tenant, next_due_at, pulled, since)
    select distinct on (target) target, tenant, due_at,
        coalesce((select url is null from webhook_endpoints e where e.id = target), false), created_at
    from json_to_recordset($1::json) as d (target text, tenant text, due_at timestamptz, created_at timestamptz)
    order by target, due_at
    on conflict (id) do update set next_due_at = least(webhook_targets.next_due_at, excluded.next_due_at)
)
insert into webhook_deliveries (id, tenant, target, event_type, subject, revision, created_at, state, due_at, attempts,
    tried, url, facts, ended_at, last_status, last_error)
select id, tenant, target, event_type, subject, revision, created_at, state, due_at, attempts,
    tried, url, facts, ended_at, last_status, last_error
from json_populate_recordset(null::webhook_deliveries, $1::json)
"""


class Writer(Protocol):
    async def __call__(self, deliveries: Sequence[Delivery]) -> None: ...


@dataclass
class Webhooks:
    """The protocols of one store. Its clock is the caller's."""

    queue: DeliveryQueue
    log: DeliveryLog
    pulled: PulledEvents
    endpoints: Endpoints
    write: Writer

    async def added(self, endpoint_id: str = "we_a", *, proven: bool = False, **fields: Any) -> Endpoint:
        """A registered endpoint; `proven`: it has answered well, so that it has all its places."""
        added = endpoint(endpoint_id, **fields)
        await self.endpoints.add(added)
        if proven:
            await self.deliver(endpoint_id, count=1)
        return added

    async def deliver(self, target: str, *, count: int) -> None:
        """Have so many delivered there, one after the other."""
        for _ in range(count):
            await self.waiting(target)
            (claim,) = (await self.claim()).claims
            await self.record(claim)

    async def waiting(self, *targets: str, **fields: Any) -> list[Delivery]:
        """One delivery for each target, that waits."""
        made = [delivery(target, **fields) for target in targets]
        await self.write(made)
        return made

    async def claim(self, after_s: float = 0, *, limit: int = 100, each: int = 100) -> Claims:
        return await self.queue.claim(in_s(after_s), limit=limit, each=each)

    async def record(
        self, *claims: Claim, verdict: Verdict = Verdict.DELIVERED, after_s: float = 0
    ) -> Sequence[Change]:
        now = in_s(after_s)
        return await self.queue.record([outcome(claim, verdict, now) for claim in claims], now)

    async def found(self, of: Delivery) -> Delivery:
        found = await self.log.get(of.tenant, of.id)
        assert found is not None
        return found


@asynccontextmanager
async def webhook_stores(dsn: str | None, jobs: Jobs, clock: Clock, state: WebhookState) -> AsyncIterator[Webhooks]:
    """No chance: delays are those of the schedule. `state` is that of the twins."""
    if dsn is None:
        yield Webhooks(
            MemoryDeliveryQueue(state, jobs, chance=lambda: 0.5),
            MemoryDeliveryLog(state),
            MemoryPulledEvents(state, jobs),
            MemoryEndpoints(state, clock),
            MemoryWriter(state),
        )
        return
    async with (
        PostgresDeliveryQueue(dsn, chance=lambda: 0.5) as queue,
        PostgresDeliveryLog(dsn) as log,
        PostgresPulledEvents(dsn) as pulled,
        PostgresEndpoints(dsn, clock=clock) as endpoints,
    ):
        yield Webhooks(queue, log, pulled, endpoints, PostgresWriter(dsn))


class MemoryWriter:
    def __init__(self, state: WebhookState) -> None:
        self._state = state

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        for each in deliveries:
            self._state.write(each)


class PostgresWriter:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(_WRITE, msgspec.json.encode(deliveries).decode())
        finally:
            await connection.close()


def in_s(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def ids(of: Sequence[Claim] | Sequence[Delivery]) -> list[str]:
    return [each.delivery.id if isinstance(each, Claim) else each.id for each in of]
