"""Deliveries for receivers that come for them, in Postgres."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from schemas.webhooks import Circuit
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.webhooks.looking import FIRST_OF_SUBJECT
from stores.postgres.webhooks.rows import DELIVERY_COLUMNS, ENDPOINT_COLUMNS, delivery_of, endpoint_of
from stores.postgres.webhooks.stale import RUNS, SAYS_THAT_IT_RUNS, drop_stale
from stores.validation import storable
from stores.webhooks import Claim

_PULLED: Final = "e.tenant = $2 and e.id = $3 and e.url is null"
# Of those that are taken, the ones that say that a job runs which has ended since.
_OVER: Final = f"""
select d.id from due d left join lateral ({RUNS}) as job on true
where {SAYS_THAT_IT_RUNS} and job.runs is null
"""
PULL: Final = f"""
with due as (
    select d.*
    from webhook_endpoints e
    join webhook_deliveries d on d.target = e.id
    left join webhook_targets t on t.id = e.id
    where {_PULLED} and d.state = 'pending' and d.due_at <= $1
        and (coalesce(t.circuit, '') <> '{Circuit.DISABLED}' or d.subject = d.target)
        and (not e.ordered or {FIRST_OF_SUBJECT})
    order by d.due_at, d.id limit $6 for update of d skip locked
), over as materialized ({_OVER}), dropped as (
    update webhook_deliveries set state = 'dropped', ended_at = $1, lease = null, leased_until = null
    where id = any (array(select id from over))
), leased as (
    update webhook_deliveries set lease = $4, leased_until = $5, due_at = $5, tried = tried + 1
    where id = any (array(select id from due except select id from over))
)
select d.id in (select id from over) as is_over, {DELIVERY_COLUMNS}, {ENDPOINT_COLUMNS}
from due d join webhook_endpoints e on e.id = d.target
order by d.due_at, d.id
"""
_DUE: Final = f"""
select t.id from webhook_targets t
where t.id = any ($1::text[]) and exists (
    select from webhook_deliveries d where d.target = t.id and d.state = 'pending' and d.due_at <= $2
        and (t.circuit <> '{Circuit.DISABLED}' or d.subject = d.target)
)
"""
# The target is locked before its deliveries, as by all who change several.
_STANDING: Final = f"""
with standing as (
    select d.id from unnest($4::text[], $5::text[]) as g (id, lease)
    join webhook_deliveries d on d.id = g.id and d.lease = g.lease
    join webhook_endpoints e on e.id = d.target
    join webhook_targets t on t.id = d.target
    where {_PULLED} and d.ended_at is null
    order by d.id for update of t, d
)
"""
_RENEW: Final = f"""
{_STANDING}
update webhook_deliveries d set leased_until = $1, due_at = $1 from standing where d.id = standing.id returning d.id
"""
_ACKNOWLEDGE: Final = f"""
{_STANDING}
, done as (
    update webhook_deliveries d
    set state = 'delivered', ended_at = $1, lease = null, leased_until = null, last_error = null
    from standing where d.id = standing.id returning d.id
), healthy as (
    update webhook_targets set succeeded_at = $1 where id = $3 and exists (select from done)
)
select id from done
"""


class PostgresPulledEvents(PostgresStore):
    """`PulledEvents` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement. Connections are opened when they are needed.
    """

    def __init__(self, dsn: str, *, connections: int = 1, timeout_s: float = 5.0, role: str = CLIENT) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role, ahead=False)

    async def pull(
        self, tenant: str, endpoint_id: str, now: datetime, *, limit: int, lease_s: float
    ) -> Sequence[Claim]:
        if not storable(endpoint_id):
            return []
        lease, until = uuid4().hex, now + timedelta(seconds=lease_s)
        while True:
            rows = await self._postgres.fetch(PULL, now, tenant, endpoint_id, lease, until, limit)
            claims = [
                Claim(
                    delivery=delivery_of(row),
                    lease=lease,
                    leased_until=until,
                    endpoint=(endpoint := endpoint_of(row)),
                    secrets=endpoint.secrets,
                )
                for row in rows
                if not row["is_over"]
            ]
            if claims or not rows:
                return claims
            # All of them were over, and there may be many more behind them.
            await drop_stale(self._postgres, [endpoint_id], now)

    async def due(self, endpoint_ids: Sequence[str], now: datetime) -> Sequence[str]:
        return [row["id"] for row in await self._postgres.fetch(_DUE, list(endpoint_ids), now)]

    async def renew(
        self, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]], now: datetime, lease_s: float
    ) -> Sequence[str]:
        return await self._standing(_RENEW, now + timedelta(seconds=lease_s), tenant, endpoint_id, leases)

    async def acknowledge(
        self, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]], now: datetime
    ) -> Sequence[str]:
        return await self._standing(_ACKNOWLEDGE, now, tenant, endpoint_id, leases)

    async def _standing(
        self, statement: str, moment: datetime, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]]
    ) -> Sequence[str]:
        """In the order of `leases`, each once. A lease stands until somebody else has one."""
        known = {delivery: lease for delivery, lease in leases if storable(delivery, lease)}
        if not known or not storable(endpoint_id):
            return []
        columns = [*known], [*known.values()]
        standing = {row["id"] for row in await self._postgres.fetch(statement, moment, tenant, endpoint_id, *columns)}
        return [delivery for delivery in known if delivery in standing]
