"""Closing the circuit of an endpoint by hand, and opening it."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from schemas.webhooks import Circuit, DeliveryState, EventType, Replay
from stores.postgres.webhooks.events import NOTIFY
from stores.webhooks import MOST_COUNTED, endpoint_not_found

if TYPE_CHECKING:
    from stores.postgres.calls import Connection, Postgres

# So many deliveries are changed by one statement, which locks them for some tens of milliseconds.
STEP: Final = 2000

_TARGET: Final = """
select t.circuit from webhook_targets t join webhook_endpoints e using (id)
where e.tenant = $1 and e.id = $2 for update of t
"""
# Along the index of a target, from one id on.
_REVIVE: Final = f"""
with walked as (
    select d.id from webhook_deliveries d
    where d.tenant = $1 and d.target = $2 and d.id > $3 and d.created_at >= $4 and d.subject <> d.target
        and d.state in ('{DeliveryState.FAILED}', '{DeliveryState.DROPPED}')
        and d.event_type <> '{EventType.JOB_RUNNING}'
    order by d.id limit {STEP}
), revived as (
    update webhook_deliveries d set state = '{DeliveryState.PENDING}', ended_at = null, attempts = 0, due_at = $5
    from walked where d.id = walked.id
), lowered as (
    update webhook_targets set next_due_at = least(next_due_at, $5) where id = $2 and exists (select from walked)
)
select max(id) as last, count(*) as count from walked
"""
# What waits for its turn in a schedule is due now. From one place on: what fails meanwhile, and is due later again, is
# met once at most.
HURRY: Final = f"""
with walked as (
    select d.id, d.due_at from webhook_deliveries d
    where d.target = $1 and d.state = '{DeliveryState.PENDING}' and (d.due_at, d.id) > ($3, $4)
        and (d.leased_until is null or d.leased_until <= $2)
    order by d.due_at, d.id limit {STEP}
), hurried as (
    update webhook_deliveries set due_at = $2 where id = any (array(select id from walked)) and ended_at is null
), last as (
    select due_at, id from walked order by due_at desc, id desc limit 1
), lowered as (
    update webhook_targets set next_due_at = least(next_due_at, $2) where id = $1 and exists (select from walked)
)
select due_at, id, (select count(*) from walked) as count from last
"""
# The circuit is as a new one's.
_AFRESH: Final = f"""
update webhook_targets set circuit = '{Circuit.ACTIVE}', since = $2, failures = 0, failing_since = null,
    probe_at = null, probe_after_s = default, reason = null, next_due_at = $2
where id = $1
"""
_ENABLE: Final = f"{_AFRESH} returning {NOTIFY}"
# What was sent in vain says nothing of a receiver that comes itself; what somebody disabled stays so.
_PULLED: Final = f"{_AFRESH} and circuit <> '{Circuit.DISABLED}' and failures > 0"
_PENDING: Final = f"""
select count(*) from (
    select from webhook_deliveries where target = $1 and state = '{DeliveryState.PENDING}' limit {MOST_COUNTED}
) as counted
"""
_DROP: Final = f"""
with dropped as (
    update webhook_deliveries set state = '{DeliveryState.DROPPED}', ended_at = $2, lease = null, leased_until = null
    where id = any (array(
        select d.id from webhook_deliveries d
        where d.target = $1 and d.state = '{DeliveryState.PENDING}' and {{which}}
        limit {STEP}
    ))
    returning id
) select count(*) from dropped
"""
DROP_ALL: Final = _DROP.format(which="true")
# What is in flight is perhaps received in this moment.
_DROP_HELD: Final = _DROP.format(which="d.created_at < $3 and (d.leased_until is null or d.leased_until <= $2)")
_DISABLE: Final = f"""
update webhook_targets t set circuit = '{Circuit.DISABLED}', since = $4, probe_at = null, reason = $3
from webhook_endpoints e where e.id = t.id and e.tenant = $1 and e.id = $2
returning t.id
"""
# Behind all ids.
LAST_ID: Final = "\U0010ffff"
# The first moment behind all that was created until now.
_TICK: Final = timedelta(microseconds=1)


async def enable(
    postgres: "Postgres", tenant: str, endpoint_id: str, replay: Replay, since: datetime | None, now: datetime
) -> int:
    if replay is Replay.SINCE and since is not None:
        await _revive(postgres, tenant, endpoint_id, since, now)
        await _drop_held(postgres, tenant, endpoint_id, since, now)
    elif replay is Replay.NONE:
        await _drop_held(postgres, tenant, endpoint_id, now + _TICK, now)
    await hurry(postgres, tenant, endpoint_id, now)
    async with postgres.transaction() as connection:
        await _lock_target(connection, tenant, endpoint_id)
        await connection.execute(_ENABLE, endpoint_id, now)
    if replay is Replay.NONE:
        return 0
    (row,) = await postgres.fetch(_PENDING, endpoint_id)
    return int(row["count"])


async def begin_pulling(connection: "Connection", endpoint_id: str, now: datetime) -> None:
    """It may have been sent to until now. To be called in a transaction that has locked its target."""
    await connection.execute(_PULLED, endpoint_id, now)


async def hurry(postgres: "Postgres", tenant: str, endpoint_id: str, now: datetime) -> None:
    """Have what waits there for a later attempt due now, step by step. Raises `WebhookEndpointNotFound`."""
    due_at, last, found = now, LAST_ID, STEP
    while found == STEP:
        async with postgres.transaction() as connection:
            await _lock_target(connection, tenant, endpoint_id)
            rows = await connection.fetch(HURRY, endpoint_id, now, due_at, last)
            if not rows:
                return
            due_at, last, found = rows[0]


async def _revive(postgres: "Postgres", tenant: str, endpoint_id: str, since: datetime, now: datetime) -> None:
    """Those that ended otherwise than delivered, step by step."""
    last, found = "", STEP
    while found == STEP:
        async with postgres.transaction() as connection:
            await _lock_target(connection, tenant, endpoint_id)
            (row,) = await connection.fetch(_REVIVE, tenant, endpoint_id, last, since, now)
            last, found = row["last"], row["count"]


async def _drop_held(postgres: "Postgres", tenant: str, endpoint_id: str, before: datetime, now: datetime) -> None:
    """Step by step, as long as they are held."""
    dropped = STEP
    while dropped == STEP:
        async with postgres.transaction() as connection:
            if await _lock_target(connection, tenant, endpoint_id) is Circuit.ACTIVE:
                return
            dropped = await connection.fetchval(_DROP_HELD, endpoint_id, now, before)


async def disable(postgres: "Postgres", tenant: str, endpoint_id: str, reason: str, now: datetime) -> bool:
    return bool(await postgres.fetch(_DISABLE, tenant, endpoint_id, reason, now))


async def _lock_target(connection: "Connection", tenant: str, endpoint_id: str) -> Circuit:
    """Its circuit. Raises `WebhookEndpointNotFound`."""
    circuit = await connection.fetchval(_TARGET, tenant, endpoint_id)
    if circuit is None:
        raise endpoint_not_found(endpoint_id)
    return Circuit(circuit)
