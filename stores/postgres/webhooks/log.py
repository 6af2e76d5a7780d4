"""What was delivered, and once more, in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Self

from schemas.webhooks import Attempt, Delivery, Endpoint
from stores.postgres.calls import Postgres
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.webhooks.asked import add_test
from stores.postgres.webhooks.replays import conditions, count, replay
from stores.postgres.webhooks.rows import ATTEMPT_COLUMNS, DELIVERY_COLUMNS, attempt_of, delivery_of
from stores.validation import storable
from stores.webhooks import DeliveryFilter

_GET: Final = f"select {DELIVERY_COLUMNS} from webhook_deliveries d where d.tenant = $1 and d.id = $2"
_ATTEMPTS: Final = f"""
select {ATTEMPT_COLUMNS} from webhook_attempts where delivery = $1 order by at desc, number desc limit $2
"""


class PostgresDeliveryLog:
    """`DeliveryLog` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement. Connections are opened when they are needed.
    """

    def __init__(self, dsn: str, *, connections: int = 1, timeout_s: float = 5.0, role: str = CLIENT) -> None:
        self._postgres = Postgres(dsn, connections=connections, timeout_s=timeout_s, role=role, ahead=False)

    async def __aenter__(self) -> Self:
        await self._postgres.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._postgres.__aexit__(*exception)

    async def get(self, tenant: str, delivery_id: str) -> Delivery | None:
        if not storable(delivery_id):
            return None
        rows = await self._postgres.fetch(_GET, tenant, delivery_id)
        return delivery_of(rows[0]) if rows else None

    async def attempts(self, delivery_id: str, *, limit: int) -> Sequence[Attempt]:
        if not storable(delivery_id):
            return []
        return [attempt_of(row) for row in await self._postgres.fetch(_ATTEMPTS, delivery_id, limit)]

    async def list(self, tenant: str, wanted: DeliveryFilter, *, after: str | None, limit: int) -> Sequence[Delivery]:
        if not _is_storable(wanted, after):
            return []
        where, arguments = conditions(tenant, wanted)
        if after is not None:
            arguments.append(after)
            where += f" and d.id < ${len(arguments)}"
        statement = (
            f"select {DELIVERY_COLUMNS} from webhook_deliveries d where {where} order by d.id desc limit {limit:d}"
        )
        return [delivery_of(row) for row in await self._postgres.fetch(statement, *arguments)]

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
