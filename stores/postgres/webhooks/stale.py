"""Dropping what says that a job runs which has ended since: the end has an event of its own."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.webhooks import EventType

if TYPE_CHECKING:
    from stores.postgres.calls import Connection, Postgres

# Of one target so many of the oldest that wait are looked at in one step, and of all together so many are dropped:
# some tens of milliseconds.
LOOKED_AT: Final = 1000
_DROPPED: Final = 2000

# The limit has each job looked up by itself: where much is due, all jobs would else be read.
RUNS: Final = """
select true as runs from jobs j where j.tenant = d.tenant and j.id = d.subject and j.completed_at is null limit 1
"""
SAYS_THAT_IT_RUNS: Final = f"d.event_type = '{EventType.JOB_RUNNING}' and d.subject <> d.target"
DROP_STALE: Final = f"""
with stale as (
    select d.id from unnest($1::text[]) as asked (target) cross join lateral (
        select * from webhook_deliveries w
        where w.target = asked.target and w.state = 'pending' and (w.leased_until is null or w.leased_until <= $2)
        order by w.due_at, w.id limit {LOOKED_AT}
    ) as d left join lateral ({RUNS}) as job on true
    where {SAYS_THAT_IT_RUNS} and job.runs is null
    limit {_DROPPED}
), free as (
    select id from webhook_deliveries where id = any (array(select id from stale)) and ended_at is null
    order by id for update skip locked
), dropped as (
    update webhook_deliveries set state = 'dropped', ended_at = $2, lease = null, leased_until = null
    where id = any (array(select id from free))
    returning 1
)
select count(*) from dropped
"""


async def drop_stale(store: "Connection | Postgres", targets: Sequence[str], now: datetime) -> int:
    """Of those that wait at these targets, how many were dropped."""
    (row,) = await store.fetch(DROP_STALE, list(targets), now)
    return int(row["count"])
