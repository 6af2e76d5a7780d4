"""One round of a claim: lock targets that are due, see what may begin at each, lease it, say when to look again.

The rows of targets are locked, not those of deliveries. What is looked at is what stands there once they are locked:
whoever writes a delivery has its target due behind that, and waits for us with it.
"""

import math
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.webhook_targets import is_origin
from schemas.webhooks import Circuit, Limits, lease_of
from stores.postgres.webhooks.looking import Locked, look_at
from stores.postgres.webhooks.rows import (
    ENDPOINT_COLUMNS,
    HEALTH_COLUMNS,
    delivery_of,
    endpoint_of,
    health_of,
    secrets_of,
)
from stores.webhook_limits import (
    Bucket,
    Look,
    allowance,
    filled,
    in_turn,
    next_look,
    rested_at,
    spent,
)
from stores.webhooks import Claim

if TYPE_CHECKING:
    import asyncpg

    from stores.postgres.calls import Connection
    from stores.postgres.webhooks.looking import Found


# So many deliveries of endpoints that are gone are dropped at a time.
_DROPPED: Final = 1000

LOCK_DUE: Final = f"""
select t.id, t.tenant, t.tokens, t.filled_at, {HEALTH_COLUMNS}, {ENDPOINT_COLUMNS}, s.secrets as default_secrets
from webhook_targets t
left join webhook_endpoints e on e.id = t.id
left join webhook_secrets s on s.tenant = t.tenant and e.id is null
where t.next_due_at <= $1 and not t.pulled and t.circuit <> '{Circuit.DISABLED}' and t.id <> all ($2::text[])
    and (
        (t.circuit = '{Circuit.ACTIVE}' and t.succeeded_at is not null and t.failures = 0)
        or not ($4 or t.tenant = any ($5::text[]))
    )
order by t.next_due_at
limit $3
for update of t skip locked
"""
_DROP_GONE: Final = f"""
with dropped as (
    update webhook_deliveries set state = 'dropped', ended_at = $2::timestamptz, lease = null, leased_until = null
    where id = any (array(
        select id from webhook_deliveries where target = any ($1::text[]) and state = 'pending' limit {_DROPPED}
    ))
    returning id
)
update webhook_targets
set next_due_at = case when (select count(*) from dropped) = {_DROPPED} then $2::timestamptz else 'infinity' end
where id = any ($1::text[])
"""
# A test that was claimed at the same time is leased already. Where rows are found by their ids, those that are pending
# are told by `ended_at`: by `state`, Postgres might read all of the index of what is due instead.
LEASE_FOUND: Final = """
with leased as (
    update webhook_deliveries d set lease = $2, leased_until = g.until, due_at = g.until
    from unnest($1::text[], $3::timestamptz[]) as g (id, until)
    where d.id = g.id and d.ended_at is null and (d.leased_until is null or d.leased_until <= $4)
    returning d.id
), placed as (
    update webhook_targets t
    set next_due_at = coalesce(p.next_due_at, 'infinity'), tokens = p.tokens, filled_at = p.filled_at
    from unnest($5::text[], $6::timestamptz[], $7::real[], $8::timestamptz[]) as p (id, next_due_at, tokens, filled_at)
    where t.id = p.id
)
select id from leased
"""


class Round(NamedTuple):
    """What a round leased, and the targets that it looked at."""

    claims: Sequence[Claim]
    targets: Sequence[str]


class Wanted(NamedTuple):
    """Which of the targets that are due: none that were `seen`; `only_well`, `crowding` as `DeliveryQueue.claim` has
    them."""

    seen: Collection[str]
    only_well: bool
    crowding: Collection[str]


async def claim_round(
    connection: "Connection",
    now: datetime,
    lease: str,
    wanted: Wanted,
    *,
    targets: int,
    limit: int,
    each: int,
) -> Round:
    """Up to `limit` of up to `targets` that are due and `wanted`. To be called in a transaction."""
    crowding = list(wanted.crowding)
    rows = await connection.fetch(LOCK_DUE, now, list(wanted.seen), targets, wanted.only_well, crowding)
    ids = [row["id"] for row in rows]
    if gone := [row["id"] for row in rows if not _is_there(row)]:
        await connection.execute(_DROP_GONE, gone, now)
    # Twice what is a target's share of them: some have less.
    each = min(each, math.ceil(2 * limit / max(1, len(rows))))
    locked = [_locked(row, now, each) for row in rows if _is_there(row)]
    if not locked:
        return Round((), ids)
    looks, found = await look_at(connection, locked, now)
    begun = in_turn([len(some) for some in found], limit)
    chosen = [some[:count] for some, count in zip(found, begun, strict=True)]
    leased = await _lease(connection, lease, now, locked, looks, chosen)
    claims = [
        Claim(
            delivery=delivery_of(row),
            lease=lease,
            leased_until=now + lease_of(target.limits),
            endpoint=target.endpoint,
            secrets=target.secrets,
            probe=target.allowed.probe,
            well=target.health.is_well,
        )
        for target, some in zip(locked, chosen, strict=True)
        for row in some
        if row["id"] in leased
    ]
    return Round(claims, ids)


def _is_there(target: "asyncpg.Record") -> bool:
    return target["e_id"] is not None or is_origin(target["id"])


def _locked(row: "asyncpg.Record", now: datetime, each: int) -> Locked:
    endpoint = None if row["e_id"] is None else endpoint_of(row)
    limits = Limits() if endpoint is None else endpoint.limits
    health = health_of(row)
    kept = None if row["filled_at"] is None else Bucket(row["tokens"], row["filled_at"])
    bucket = filled(kept, limits, now)
    secrets = secrets_of(row["default_secrets"]) if endpoint is None else endpoint.secrets
    return Locked(row["id"], health, bucket, endpoint, secrets, allowance(health, limits, bucket, now, each))


async def _lease(
    connection: "Connection",
    lease: str,
    now: datetime,
    locked: Sequence[Locked],
    looks: Sequence[Look],
    chosen: "Found",
) -> set[str]:
    """The ids of the deliveries that could be leased."""
    places = []
    until_of: dict[str, datetime] = {}
    for target, look, some in zip(locked, looks, chosen, strict=True):
        begun, until = len(some), now + lease_of(target.limits)
        until_of |= {row["id"]: until for row in some}
        bucket = spent(target.bucket, begun)
        again_at = next_look(target.allowed, look, begun, until, rested_at(bucket, target.limits), now)
        places.append((target.id, again_at, *(bucket or (None, None))))
    rows = await connection.fetch(
        LEASE_FOUND,
        [*until_of],
        lease,
        [*until_of.values()],
        now,
        *map(list, zip(*places, strict=True)),
    )
    return {row["id"] for row in rows}
