"""The endpoints that tenants registered, and the secrets of each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from runtime.clock import Clock, now_utc
from schemas.webhooks import Circuit, DeliveryState, Endpoint, Replay, Sealed
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.rows import json_text
from stores.postgres.webhooks import sealed, switching
from stores.postgres.webhooks.events import NOTIFY
from stores.postgres.webhooks.rows import ENDPOINT_COLUMNS, HEALTH_COLUMNS, endpoint_of, health_of
from stores.postgres.webhooks.switching import DROP_ALL
from stores.sealing import KeyRing
from stores.validation import storable
from stores.webhooks import MOST_COUNTED, Standing, endpoint_not_found, refuse_too_many

# Any number that nobody else takes as the first of an advisory lock's two.
_ADDING: Final = 0x776562_68
_LOCK: Final = "select pg_advisory_xact_lock($1, hashtext($2))"
_COUNT: Final = "select count(*) from webhook_endpoints where tenant = $1"
_ADD: Final = """
with added as (
    insert into webhook_endpoints
        (id, tenant, name, url, event_types, payload, ordered, limits, secrets, created_at, updated_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8::json, $9::json, $10, $11)
)
insert into webhook_targets (id, tenant, pulled, since) values ($1, $2, $4::text is null, $10)
on conflict (id) do update set pulled = excluded.pulled
"""
_GET: Final = f"select {ENDPOINT_COLUMNS} from webhook_endpoints e where e.tenant = $1 and e.id = $2"
_LIST: Final = f"""
select {ENDPOINT_COLUMNS} from webhook_endpoints e
where e.tenant = $1 and ($2::text is null or e.id < $2) order by e.id desc limit $3
"""
# Waits that are over by its new limits, or that it has begun to be sent to: it is looked at again at once.
_REPLACE: Final = f"""
with replaced as (
    update webhook_endpoints e set name = $4, url = $5, event_types = $6, payload = $7, ordered = $8, limits = $9::json,
        secrets = $10::json, updated_at = $11
    where e.tenant = $1 and e.id = $2 and e.updated_at = $3
    returning e.id
), placed as (
    update webhook_targets t set pulled = $5::text is null, next_due_at = least(t.next_due_at, $11)
    from replaced where t.id = replaced.id
)
select id, {NOTIFY} from replaced
"""
_REMOVE: Final = "delete from webhook_endpoints where tenant = $1 and id = $2 returning id"
# What is not dropped with it a claim will drop, which finds no endpoint for it.
_FREE: Final = f"""
update webhook_targets set pulled = false, circuit = '{Circuit.ACTIVE}', next_due_at = $2 where id = $1
"""
_STANDING: Final = f"""
select e.id, {HEALTH_COLUMNS}, waiting.pending, waiting.oldest
from unnest($2::text[]) as k (id)
join webhook_endpoints e on e.id = k.id and e.tenant = $1
join webhook_targets t on t.id = e.id
cross join lateral (
    select count(*) as pending, min(created_at) as oldest from (
        select d.created_at from webhook_deliveries d
        where d.target = e.id and d.state = '{DeliveryState.PENDING}' order by d.due_at, d.id limit {MOST_COUNTED}
    ) as counted
) as waiting
"""


class PostgresEndpoints(PostgresStore):
    """`Endpoints` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections: int = 2,
        timeout_s: float = 5.0,
        clock: Clock = now_utc,
        role: str = CLIENT,
        ahead: bool = True,
    ) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role, ahead=ahead)
        self._clock = clock

    async def add(self, endpoint: Endpoint) -> None:
        async with self._postgres.transaction() as connection:
            await connection.execute(_LOCK, _ADDING, endpoint.tenant)
            refuse_too_many(await connection.fetchval(_COUNT, endpoint.tenant))
            await connection.execute(
                _ADD, endpoint.id, endpoint.tenant, *_content(endpoint), endpoint.created_at, endpoint.updated_at
            )

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        rows = await self._postgres.fetch(_GET, tenant, endpoint_id) if storable(tenant, endpoint_id) else ()
        return endpoint_of(rows[0]) if rows else None

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Endpoint]:
        if not storable(tenant, after):
            return []
        rows = await self._postgres.fetch(_LIST, tenant, after, limit)
        return [endpoint_of(row) for row in rows]

    async def replace(self, endpoint: Endpoint, known: datetime) -> bool:
        now = endpoint.updated_at
        async with self._postgres.transaction() as connection:
            rows = await connection.fetch(_REPLACE, endpoint.tenant, endpoint.id, known, *_content(endpoint), now)
            if rows and endpoint.url is None:
                await switching.begin_pulling(connection, endpoint.id, now)
        if rows and endpoint.url is None:
            await switching.hurry(self._postgres, endpoint.tenant, endpoint.id, now)
        return bool(rows)

    async def remove(self, tenant: str, endpoint_id: str) -> bool:
        if not storable(tenant, endpoint_id):
            return False
        now = self._clock()
        async with self._postgres.transaction() as connection:
            if await connection.fetchval(_REMOVE, tenant, endpoint_id) is None:
                return False
            await connection.execute(_FREE, endpoint_id, now)
            await connection.fetchval(DROP_ALL, endpoint_id, now)
        return True

    async def standing(self, tenant: str, endpoint_ids: Sequence[str]) -> dict[str, Standing]:
        ids = [endpoint_id for endpoint_id in endpoint_ids if storable(tenant, endpoint_id)]
        if not ids:
            return {}
        return {
            row["id"]: Standing(health=health_of(row), pending=row["pending"], oldest_pending_at=row["oldest"])
            for row in await self._postgres.fetch(_STANDING, tenant, ids)
        }

    async def enable(self, tenant: str, endpoint_id: str, replay: Replay, since: datetime | None, now: datetime) -> int:
        if not storable(tenant, endpoint_id):
            raise endpoint_not_found(endpoint_id)
        return await switching.enable(self._postgres, tenant, endpoint_id, replay, since, now)

    async def disable(self, tenant: str, endpoint_id: str, reason: str, now: datetime) -> bool:
        return storable(tenant, endpoint_id) and await switching.disable(
            self._postgres, tenant, endpoint_id, reason, now
        )

    async def default_secrets(self, tenant: str) -> Sequence[Sealed]:
        return await sealed.default_secrets(self._postgres, tenant) if storable(tenant) else ()

    async def set_default_secrets(self, tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]) -> bool:
        return await sealed.set_default_secrets(self._postgres, tenant, secrets, known)

    async def sealed_by(self) -> dict[str, int]:
        return await sealed.sealed_by(self._postgres)

    async def reseal(self, ring: KeyRing, now: datetime) -> int:
        return await sealed.reseal(self._postgres, ring, now)


def _content(endpoint: Endpoint) -> tuple[object, ...]:
    """From its name to its secrets, as statements that write it have them."""
    return (
        endpoint.name,
        endpoint.url,
        list(endpoint.event_types),
        endpoint.payload,
        endpoint.ordered,
        json_text(endpoint.limits),
        json_text(endpoint.secrets),
    )
