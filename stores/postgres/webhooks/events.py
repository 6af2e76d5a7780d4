"""Deliveries that are written by the statement that ends jobs, or says that they run: all of it is done, or nothing.

One delivery for each target that is told of the event: the job's own webhook, and the endpoints of its tenant that
subscribe to the event. The same statement has their targets due at once, and waits for a claim that holds one of them:
what it did not see, the next one will. Targets are locked in the order of their ids, behind the jobs, and nothing is
locked behind them: statements of two transactions never wait for each other. So each such statement is a transaction
of its own, or the last one of its transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from schemas.webhooks import EventType
from stores.postgres.places import in_each_place
from stores.postgres.rows import json_text

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

# What is listened to by those who wait for deliveries.
CHANNEL: Final = "penstock_webhooks"

# What a statement must return of each job `j` that it changed, so that others can be told of it. Nothing large.
TOLD: Final = (
    "j.tenant, j.id, j.model, j.version, j.status, j.variant, j.batch_id, j.created_at, j.expires_at, j.started_at, "
    "j.completed_at, j.error, j.metadata, j.webhook, j.webhook_events"
)
# A NUL that JSON names cannot be read within other JSON: the job would not end.
_AS_TEXT: Final = TOLD.replace("j.error, j.metadata", "j.error::text as error, j.metadata::text as metadata")


def telling(change: str, *, answer: str, now: str) -> Sequence[str]:
    """The statement, in each place, that changes jobs as `change` does, and writes what is to be delivered of it.

    `change` returns `TOLD`, at least, of each job that it ended, or that runs from now on. `answer` is what is selected
    of these jobs, each a `j`. `now` is the parameter for the time at which deliveries are due.

    All that takes long to prepare is in a function, which is called where somebody is to be told: nearly always
    nobody is.
    """
    return in_each_place(f"""
with told as ({change})
select {answer} from told j
where coalesce((
    select tell_of_jobs(json_agg(r), {now}) from told j cross join lateral (select {_AS_TEXT}) as r
    where j.webhook is not null or exists (select from webhook_endpoints e where e.tenant = j.tenant)
    having count(*) > 0
), 0) >= 0
""")


def lowering(now: str) -> str:
    """The part of a statement that has the targets of `deliveries` due by then."""
    return f"""lowered as (
    insert into webhook_targets as t (id, tenant, pulled, since, next_due_at)
    select distinct on (target) target, tenant, pulled, {now}, {now} from deliveries order by target
    on conflict (id) do update set next_due_at = excluded.next_due_at where t.next_due_at > excluded.next_due_at
)"""


# The server sends one notification a transaction, however often it is asked for the same.
NOTIFY: Final = f"pg_notify('{CHANNEL}', '')"


# An endpoint hears nothing of itself.
_WRITE: Final = """
select write_webhook_deliveries(
    array_agg(e.tenant), array_agg(e.id), array_agg(e.url is null), array_agg($2::text), array_agg($3::text),
    array_agg($4::integer), array_agg(null::text), array_agg($5::json), $6
)
from webhook_endpoints e where e.tenant = $1 and $2 = any (e.event_types) and e.id <> $3
having count(*) > 0
"""


class TransactionEvents:
    """`EventWriter` in the transaction of a connection, as the last thing that this transaction locks."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def write(
        self, tenant: str, event_type: EventType, subject: str, revision: int, facts: dict[str, Any], now: datetime
    ) -> int:
        arguments = (tenant, event_type, subject, revision, json_text(facts), now)
        return await self._connection.fetchval(_WRITE, *arguments) or 0
