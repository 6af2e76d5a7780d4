"""One round of a claim: lock targets that are due, see what may begin at each, lease it, say when to look again.

The rows of targets are locked, not those of deliveries. What is looked at is what stands there once they are locked:
whoever writes a delivery has its target due behind that, and waits for us with it.
"""

import math
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from schemas.webhook_targets import is_origin
from schemas.webhooks import Circuit, Endpoint, EventType, Health, Limits, Sealed, lease_of
from stores.postgres.webhooks.rows import (
    DELIVERY_COLUMNS,
    ENDPOINT_COLUMNS,
    HEALTH_COLUMNS,
    delivery_of,
    endpoint_of,
    health_of,
    secrets_of,
)
from stores.postgres.webhooks.stale import RUNS, drop_stale
from stores.webhook_limits import (
    Allowance,
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

    # Rows of `DELIVERY_COLUMNS`, by target.
    Found: TypeAlias = Sequence[Sequence[asyncpg.Record]]

# Longer than any lease, also by another notifier's clock: what is leased by one is leased for all.
_LONGEST_LEASE: Final = timedelta(seconds=120)
# So many of the oldest that wait are looked at for a probe.
_PROBED: Final = 100
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
# Of one subject, one is on its way at a time, and none before those that were earlier. The index of subjects is to be
# read: by that of targets, which this form of a comparison does not use, all that waits there would be.
FIRST_OF_SUBJECT: Final = """
not exists (
    select from webhook_deliveries o
    where o.tenant = d.tenant and o.subject = d.subject and o.target is not distinct from d.target
        and o.state = 'pending' and o.id <> d.id and (o.leased_until > $1 or (o.revision, o.id) < (d.revision, d.id))
)
"""
_PENDING: Final = f"""
d.target = a.target and d.state = 'pending' and (d.leased_until is null or d.leased_until <= $1)
and (not a.ordered or {FIRST_OF_SUBJECT})
"""
# Each part reads the index of what is due, from the front, and no further than it has to.
LOOK: Final = f"""
select a.number, flying.count as in_flight, flying.landing_at, later.due_at as later_at, found.*
from unnest($3::text[], $4::integer[], $5::integer[], $6::boolean[], $7::boolean[]) with ordinality
    as a (target, in_flight, begin, probe, ordered, number)
cross join lateral (
    select count(*), min(d.leased_until) as landing_at from webhook_deliveries d
    where d.target = a.target and d.state = 'pending' and d.due_at > $1 and d.due_at <= $2 and d.leased_until > $1
) as flying
left join lateral (
    select d.due_at from webhook_deliveries d
    where d.target = a.target and d.state = 'pending' and d.due_at > $1 order by d.due_at limit 1
) as later on true
left join lateral (
    (
        select {DELIVERY_COLUMNS} from webhook_deliveries d
        where not a.probe and d.due_at <= $1 and {_PENDING}
        order by d.due_at, d.id limit greatest(0, least(a.begin, a.in_flight - flying.count))
    ) union all (
        select {DELIVERY_COLUMNS} from (
            select d.* from webhook_deliveries d where a.probe and {_PENDING} order by d.due_at, d.id limit {_PROBED}
        ) as d
        order by d.tried, d.due_at, d.id limit greatest(0, least(a.begin, a.in_flight - flying.count))
    )
) as found on true
order by a.number, found.due_at, found.id
"""
_STALE: Final = f"""
select d.id, d.target from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as d (id, target, tenant, subject)
left join lateral ({RUNS}) as job on true
where job.runs is null
"""
_DROP: Final = """
update webhook_deliveries set state = 'dropped', ended_at = $2::timestamptz, lease = null, leased_until = null
where id = any ($1::text[]) and ended_at is null
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


class Locked(NamedTuple):
    """A target that is ours for the length of the transaction. `endpoint` is None for an origin."""

    id: str
    health: Health
    bucket: Bucket | None
    endpoint: Endpoint | None
    secrets: tuple[Sealed, ...]
    allowed: Allowance

    @property
    def limits(self) -> Limits:
        return Limits() if self.endpoint is None else self.endpoint.limits


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
    looks, found = await _look(connection, locked, now)
    if stale := await _stale(connection, found):
        await drop_stale(connection, list(set(stale.values())), now)
        looks, found = await _look(connection, locked, now)
        if more := await _stale(connection, found):  # what is left of their targets is due now
            await connection.execute(_DROP, list(more), now)
            found = [[row for row in some if row["id"] not in more] for some in found]
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


async def _look(connection: "Connection", locked: Sequence[Locked], now: datetime) -> tuple[Sequence[Look], "Found"]:
    rows = await connection.fetch(
        LOOK,
        now,
        now + _LONGEST_LEASE,
        [target.id for target in locked],
        [target.allowed.in_flight for target in locked],
        [target.allowed.begin for target in locked],
        [target.allowed.probe for target in locked],
        [target.endpoint is not None and target.endpoint.ordered for target in locked],
    )
    of_target: list[list[asyncpg.Record]] = [[] for _ in locked]
    for row in rows:
        of_target[row["number"] - 1].append(row)
    found = [[row for row in some if row["id"] is not None] for some in of_target]
    looks = [
        Look(some[0]["in_flight"], len(of_it), some[0]["landing_at"], some[0]["later_at"])
        for some, of_it in zip(of_target, found, strict=True)
    ]
    return looks, found


async def _stale(connection: "Connection", found: "Found") -> dict[str, str]:
    """The ids of those that say that a job runs which has ended since, each with its target."""
    running = [row for some in found for row in some if row["event_type"] == EventType.JOB_RUNNING]
    running = [row for row in running if row["subject"] != row["target"]]
    if not running:
        return {}
    columns = [[row[name] for row in running] for name in ("id", "target", "tenant", "subject")]
    return {row["id"]: row["target"] for row in await connection.fetch(_STALE, *columns)}


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
