"""What a claim sees at targets that it has locked: what may begin there, what is in flight, what is due later."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from schemas.webhooks import Endpoint, EventType, Health, Limits, Sealed
from stores.postgres.webhooks.rows import DELIVERY_COLUMNS
from stores.postgres.webhooks.stale import RUNS, drop_stale
from stores.webhook_limits import Allowance, Bucket, Look

if TYPE_CHECKING:
    import asyncpg

    from stores.postgres.calls import Connection

    # Rows of `DELIVERY_COLUMNS`, by target.
    Found: TypeAlias = Sequence[Sequence[asyncpg.Record]]

# Longer than any lease, also by another notifier's clock: what is leased by one is leased for all.
_LONGEST_LEASE: Final = timedelta(seconds=120)
# So many of the oldest that wait are looked at for a probe.
_PROBED: Final = 100

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


async def look_at(connection: "Connection", locked: Sequence[Locked], now: datetime) -> tuple[Sequence[Look], "Found"]:
    """What is seen at each, and what may begin there. What says that a job runs which has ended since is dropped."""
    looks, found = await _look(connection, locked, now)
    if stale := await _stale(connection, found):
        await drop_stale(connection, list(set(stale.values())), now)
        looks, found = await _look(connection, locked, now)
        if more := await _stale(connection, found):  # what is left of their targets is due now
            await connection.execute(_DROP, list(more), now)
            found = [[row for row in some if row["id"] not in more] for some in found]
    return looks, found


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
