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

from schemas.jobs import DIGEST_CHARACTERS
from schemas.webhook_facts import MOST_METADATA_CHARACTERS
from schemas.webhook_targets import ORIGIN
from schemas.webhooks import ORIGIN_PREFIX, EventType, Revision
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


def telling(change: str, *, answer: str, now: str) -> Sequence[str]:
    """The statement, in each place, that changes jobs as `change` does, and writes what is to be delivered of it.

    `change` returns `TOLD`, at least, of each job that it ended, or that runs from now on. `answer` is what is selected
    of these jobs, each a `j`. `now` is the parameter for the time at which deliveries are due.
    """
    return in_each_place(f"""
with told as ({change}), deliveries as (
    select j.*, {_ORIGIN_TARGET} as target, j.webhook as url, false as pulled
    from told j
    where j.webhook is not null and coalesce({_EVENT} = any (j.webhook_events), j.completed_at is not null)
    union all
    select j.*, e.id, null, e.url is null
    from told j join webhook_endpoints e on e.tenant = j.tenant and {_EVENT} = any (e.event_types)
)
select {answer} from told j
where coalesce((
    select write_webhook_deliveries(
        array_agg(j.tenant), array_agg(j.target), array_agg(j.pulled), array_agg({_EVENT}), array_agg(j.id),
        array_agg({_REVISION}), array_agg(j.url), array_agg({_FACTS}), {now}
    ) from deliveries j having count(*) > 0
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


def _utc(column: str) -> str:
    """In one zone, whatever the session's is."""
    return f"""to_char({column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


_ORIGIN_TARGET: Final = (
    f"('{ORIGIN_PREFIX}' || left(encode(sha256(convert_to("
    f"j.tenant || E'\\n' || coalesce(substring(j.webhook from '{ORIGIN}'), j.webhook), 'UTF8')), 'hex'), "
    f"""{DIGEST_CHARACTERS})) collate "C\""""
)
_EVENT: Final = "'job.' || j.status"
_REVISION: Final = f"case when j.completed_at is null then {Revision.RUNNING} else {Revision.ENDED} end"
# As `schemas.webhook_facts.job_facts` makes them.
_FACTS: Final = f"""json_build_object(
        'status', j.status, 'done', j.completed_at is not null, 'model', j.model, 'model_version', j.version,
        'variant', j.variant, 'batch_id', j.batch_id, 'created_at', {_utc("j.created_at")},
        'started_at', {_utc("j.started_at")}, 'completed_at', {_utc("j.completed_at")},
        'expires_at', {_utc("j.expires_at")}, 'error', j.error, 'metadata',
        case when length(j.metadata::text) <= {MOST_METADATA_CHARACTERS} then j.metadata else '{{}}' end
    )"""
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
