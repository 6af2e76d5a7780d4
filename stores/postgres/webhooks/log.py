"""What was delivered, and once more, in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from schemas.webhooks import Attempt, Delivery, Endpoint
from stores.postgres.calls import Grouping
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.webhooks.asked import add_test
from stores.postgres.webhooks.replays import conditions, count, replay
from stores.postgres.webhooks.rows import ATTEMPT_COLUMNS, DELIVERY_COLUMNS, attempt_of, delivery_of
from stores.postgres.webhooks.search import list_statement
from stores.validation import storable
from stores.webhooks import DeliveryFilter, DeliveryPage

# By one list: some milliseconds.
MOST_LOOKED_AT: Final = 10_000
_GET: Final = f"""
select {DELIVERY_COLUMNS} from unnest($1::text[], $2::text[]) as k (tenant, id)
join webhook_deliveries d using (tenant, id)
"""
_ATTEMPTS: Final = f"""
select {ATTEMPT_COLUMNS} from webhook_attempts where delivery = $1 order by at desc, number desc limit $2
"""


class PostgresDeliveryLog(PostgresStore):
    """`DeliveryLog` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement. Connections are opened when they are needed.
    Those who `get` at the same time share a statement: hundreds may wait for what becomes of tests. One list looks at
    `most_looked_at` deliveries at most.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections: int = 1,
        timeout_s: float = 5.0,
        role: str = CLIENT,
        most_looked_at: int = MOST_LOOKED_AT,
    ) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role, ahead=False)
        self._gets: Grouping[tuple[str, str], Delivery | None] = Grouping(self._get_group, lanes=1)
        self._parts += (self._gets,)
        self._most_looked_at = most_looked_at

    async def get(self, tenant: str, delivery_id: str) -> Delivery | None:
        return await self._gets.ask((tenant, delivery_id)) if storable(tenant, delivery_id) else None

    async def _get_group(self, keys: Sequence[tuple[str, str]]) -> Sequence[Delivery | None]:
        found = await self._postgres.fetch(_GET, *map(list, zip(*set(keys), strict=True)))
        deliveries = {(row["tenant"], row["id"]): delivery_of(row) for row in found}
        return [deliveries.get(key) for key in keys]

    async def attempts(self, delivery_id: str, *, limit: int) -> Sequence[Attempt]:
        if not storable(delivery_id):
            return []
        return [attempt_of(row) for row in await self._postgres.fetch(_ATTEMPTS, delivery_id, limit)]

    async def list(self, tenant: str, wanted: DeliveryFilter, *, after: str | None, limit: int) -> DeliveryPage:
        if not _is_storable(wanted, after):
            return DeliveryPage([], None)
        statement, arguments = list_statement(
            tenant, wanted, after, limit=limit + 1, most_looked_at=self._most_looked_at
        )
        rows = await self._postgres.fetch(statement, *arguments)
        found = [delivery_of(row) for row in rows if row["found"]]
        if len(found) > limit:
            return DeliveryPage(found[:limit], found[limit - 1].id)
        return DeliveryPage(found, next((row["id"] for row in rows if not row["found"]), None))

    async def count(self, tenant: str, wanted: DeliveryFilter) -> int:
        if not _is_storable(wanted):
            return 0
        async with self._postgres.connection() as connection:
            return await count(connection, *conditions(tenant, wanted))

    async def replay(
        self, tenant: str, wanted: DeliveryFilter, now: datetime, *, after: str | None = None, limit: int
    ) -> Sequence[str]:
        if not _is_storable(wanted, after):
            return []
        async with self._postgres.transaction() as connection:
            return await replay(connection, *conditions(tenant, wanted), now, after, limit)

    async def add_test(self, endpoint: Endpoint, event_type: str, now: datetime) -> Delivery:
        return await add_test(self._postgres, endpoint, event_type, now)


def _is_storable(wanted: DeliveryFilter, *texts: str | None) -> bool:
    return storable(wanted.endpoint, wanted.event_type, wanted.subject, wanted.id, *texts)
