"""Giving back what is kept no longer of webhooks."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from stores.postgres.webhooks.attempt_days import empty_old_days
from stores.retention import DELIVERIES_KEPT, ORIGINS_KEPT

if TYPE_CHECKING:
    from stores.postgres.calls import Postgres

WAITED: Final = f"it waited for {DELIVERIES_KEPT.days} days"
_DELETE: Final = """
with gone as (
    delete from webhook_deliveries where id = any (array(
        select id from webhook_deliveries where ended_at < $1 order by ended_at limit $2 for update skip locked
    ))
    returning 1
)
select count(*) from gone
"""
# Each target's are looked up in the index of what is due.
_FAIL: Final = f"""
with old as (
    select d.id from webhook_targets t cross join lateral (
        select id from webhook_deliveries d where d.target = t.id and d.state = 'pending' and d.due_at < $1 limit $2
    ) as d
    limit $2
), failed as (
    update webhook_deliveries set state = 'failed', ended_at = $3, lease = null, leased_until = null,
        last_error = coalesce(last_error || '; ', '') || '{WAITED}'
    where id = any (array(
        select id from webhook_deliveries where id = any (array(select id from old)) and ended_at is null
        for update skip locked
    ))
    returning 1
)
select count(*) from failed
"""
# By its row alone it is seen, behind the lock, that something has come meanwhile: that made it due.
_FORGET_TARGETS: Final = """
with gone as (
    delete from webhook_targets where id = any (array(
        select t.id from webhook_targets t
        where greatest(t.since, t.succeeded_at, t.failing_since) < $1 and (t.next_due_at = 'infinity' or t.pulled)
            and not exists (select from webhook_endpoints e where e.id = t.id)
            and not exists (select from webhook_deliveries d where d.target = t.id and d.state = 'pending')
        limit $2 for update of t skip locked
    ))
    returning 1
)
select count(*) from gone
"""


async def purge_webhooks(postgres: "Postgres", now: datetime, limit: int) -> int:
    """How many deliveries and targets went, or failed since they waited for too long. What takes looking is left to
    the step that finds no more deliveries to delete than it may."""
    kept_since = now - DELIVERIES_KEPT
    async with postgres.connection() as connection:
        deleted: int = await connection.fetchval(_DELETE, kept_since, limit)
        if deleted == limit:
            return deleted
        await empty_old_days(connection, now)
        failed: int = await connection.fetchval(_FAIL, kept_since, limit, now)
        forgotten: int = await connection.fetchval(_FORGET_TARGETS, now - ORIGINS_KEPT, limit)
    return failed + deleted + forgotten
