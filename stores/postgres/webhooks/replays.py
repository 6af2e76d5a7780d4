"""Deliveries that ended, tried once more; and which are meant."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from stores.postgres.webhooks.events import NOTIFY, lowering
from stores.postgres.webhooks.search import ids_around
from stores.webhooks import MOST_COUNTED, DeliveryFilter

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

_MEANT: Final = """
from webhook_deliveries d left join webhook_endpoints e on e.id = d.target
where {where} and d.state <> 'pending' and (e.id is not null or d.url is not null)
"""
_FIND: Final = f"""
select d.id, d.target, d.tenant, e.id is not null and e.url is null as pulled {_MEANT} order by d.id limit {{limit:d}}
"""
_COUNT: Final = f"select count(*) from (select 1 {_MEANT} limit {MOST_COUNTED}) as found"
# Targets before their deliveries, in order of their ids, as claims and outcomes lock them.
_LOWER: Final = f"""
with deliveries as (
    select target, tenant, pulled from unnest($1::text[], $2::text[], $3::boolean[]) as g (target, tenant, pulled)
), {lowering("$4::timestamptz")}
select {NOTIFY}
"""
_REPLAY: Final = """
update webhook_deliveries
set state = 'pending', due_at = $2, attempts = 0, ended_at = null, lease = null, leased_until = null
where id = any ($1::text[]) and state <> 'pending'
returning id
"""


async def count(connection: "Connection", where: str, arguments: list[Any]) -> int:
    """How many of those `replay` would have tried again."""
    return int(await connection.fetchval(_COUNT.format(where=where), *arguments))


async def replay(
    connection: "Connection", where: str, arguments: list[Any], now: datetime, after: str | None, limit: int
) -> Sequence[str]:
    """Those of `conditions`. To be called in a transaction."""
    if after is not None:
        arguments.append(after)
        where += f" and d.id > ${len(arguments)}"
    found = await connection.fetch(_FIND.format(where=where, limit=limit), *arguments)
    if not found:
        return []
    targets = {(row["target"], row["tenant"], row["pulled"]) for row in found}
    await connection.fetch(_LOWER, *map(list, zip(*targets, strict=True)), now)
    return sorted(row["id"] for row in await connection.fetch(_REPLAY, [row["id"] for row in found], now))


def conditions(tenant: str, wanted: DeliveryFilter) -> tuple[str, list[Any]]:
    """What is asked of a delivery `d`, and the arguments to it. The state is no argument: the planner compares it with
    the partial indexes' conditions."""
    arguments: list[Any] = [tenant]
    where = ["d.tenant = $1"]
    first, last = ids_around(wanted)
    asked = {
        "d.target =": wanted.endpoint,
        "d.event_type =": wanted.event_type,
        "d.subject =": wanted.subject,
        "d.id =": wanted.id,
        "d.created_at >": wanted.created_after,
        "d.created_at <": wanted.created_before,
        "d.id >": first,
        "d.id <": last,
    }
    for comparison, value in asked.items():
        if value is not None:
            arguments.append(value)
            where.append(f"{comparison} ${len(arguments)}")
    if wanted.state is not None:
        where.append(f"d.state = '{wanted.state.value}'")
    return " and ".join(where), arguments
