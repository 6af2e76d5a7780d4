"""What waits, for metrics: read by the index of what is pending, target by target, and no further than a bound."""

from typing import Final

from schemas.webhooks import Circuit, DeliveryState
from stores.postgres.calls import Postgres
from stores.webhooks import MOST_WAITING_SEEN, Waiting

# The order has the index read, so that nothing which has ended is.
WAITING: Final = f"""
select c.circuit, seen.count, seen.oldest
from unnest($1::text[]) as c (circuit)
cross join lateral (
    select count(*), min(w.created_at) as oldest from (
        select d.created_at from webhook_targets t
        cross join lateral (
            select d.created_at from webhook_deliveries d
            where d.target = t.id and d.state = '{DeliveryState.PENDING}' order by d.due_at, d.id limit $2
        ) as d
        where t.circuit = c.circuit limit $2
    ) as w
) as seen
"""


async def waiting_by_circuit(postgres: Postgres) -> dict[str, Waiting]:
    rows = await postgres.fetch(WAITING, list(map(str, Circuit)), MOST_WAITING_SEEN)
    return {row["circuit"]: Waiting(row["count"], row["oldest"]) for row in rows}
