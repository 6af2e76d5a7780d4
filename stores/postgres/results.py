"""Where terminal records become durable."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from runtime.clock import Clock, now_utc
from schemas.jobs import Job, Terminal
from stores.postgres.calls import Postgres
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import Parts
from stores.postgres.places import Places
from stores.postgres.rows import (
    ROUTED_COLUMNS,
    WITHOUT_RESULT,
    error_json,
    find,
    json_text,
    kept_until,
    key_columns,
    read_row,
    recordset,
    routed_columns,
    write_batch,
)
from stores.postgres.webhooks.events import TOLD, telling
from stores.postgres.webhooks.listeners import Listeners
from stores.protocols import JobKey
from stores.retention import DEFAULT_RETENTION, is_past
from stores.validation import metadata_json, storable

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

_PLAIN_COLUMNS: Final = {
    "tenant": "text",
    "id": "text",
    "model": "text",
    "version": "text",
    "lane": "text",
    "status": "text",
    "created_at": "timestamptz",
    "expires_at": "timestamptz",
    "completed_at": "timestamptz",
    "rows": "integer",
    "answer": "text",
    "variant": "text",
    "started_at": "timestamptz",
}
_COLUMNS: Final = {
    **_PLAIN_COLUMNS,
    "metadata": "text",
    "error": "text",
    "result_content_type": "text",
    "result_json_length": "integer",
    "keep_until": "timestamptz",
    **ROUTED_COLUMNS,
}
_NAMES: Final = ", ".join([*_COLUMNS, "result"])
_GIVEN: Final = _NAMES.replace("metadata, error", "metadata::json, error::json")
_OF_VERSION: Final = ("version", "variant", "route_revision", "cohort")


def _told_by_the_end(column: str) -> str:
    """What a job was admitted with, unless another version ran it."""
    return f"{column} = case when excluded.version in ('', j.version) then j.{column} else excluded.{column} end"


_FINISH: Final = telling(
    f"""
insert into {{jobs}} as j ({_NAMES})
select {_GIVEN}
from rows from (json_to_recordset($1::json) as ({recordset(_COLUMNS)}), unnest($2::bytea[])) as ended ({_NAMES})
on conflict (tenant, id) do update set
    {", ".join(map(_told_by_the_end, _OF_VERSION))},
    moved_from = coalesce(excluded.moved_from, j.moved_from),
    status = excluded.status,
    started_at = coalesce(excluded.started_at, j.started_at),
    completed_at = excluded.completed_at,
    error = excluded.error,
    result = excluded.result,
    result_content_type = excluded.result_content_type,
    result_json_length = excluded.result_json_length,
    keep_until = coalesce(excluded.keep_until, {kept_until("excluded.completed_at")})
where j.completed_at is null
returning {TOLD}
""",
    answer="j.tenant, j.id",
    now="$3::timestamptz",
)
_MARK_RUNNING: Final = telling(
    f"""
with queued as (
    select j.tenant, j.id
    from unnest($1::text[], $2::text[]) as k (tenant, id) join {{jobs}} j using (tenant, id)
    where j.status = 'queued'
    order by j.tenant, j.id
    for no key update of j
)
update {{jobs}} j set status = 'running', started_at = $3
from queued where j.tenant = queued.tenant and j.id = queued.id
returning {TOLD}
""",
    answer="count(*)",
    now="$4::timestamptz",
)
_OVERDUE: Final = f"""
select {WITHOUT_RESULT} from jobs j
where j.completed_at is null and j.expires_at <= $1
order by j.expires_at limit $2
"""


class PostgresResults(Parts):
    """`ResultStore` on Postgres. Use as `async with`.

    `finishing_connections` serve `finish` and nothing else, `other_connections` all the rest. `timeout_s` bounds each
    wait for a connection and each statement. `retention` is how long jobs are kept that have no time of their own.
    """

    def __init__(
        self,
        dsn: str,
        *,
        finishing_connections: int = 1,
        other_connections: int = 1,
        timeout_s: float = 30.0,
        retention: timedelta = DEFAULT_RETENTION,
        clock: Clock = now_utc,
        role: str = CLIENT,
    ) -> None:
        self._finishing = Postgres(
            dsn, connections=finishing_connections, timeout_s=timeout_s, role=role, only_inserts=True
        )
        self._others = Postgres(dsn, connections=other_connections, timeout_s=timeout_s, role=role)
        self._places = Places(self._others)
        self._listeners = Listeners(self._others)
        self._retention = retention
        self._clock = clock
        super().__init__(self._finishing, self._others, self._places)

    async def finish(self, terminals: Sequence[Terminal]) -> Sequence[JobKey]:
        firsts: dict[JobKey, Terminal] = {}
        for terminal in terminals:
            firsts.setdefault(JobKey(terminal.tenant, terminal.id), terminal)
        # In key order, as every statement that writes many jobs: two sinks never wait for each other.
        now = self._clock()
        if past := [key for key, end in firsts.items() if is_past(end, now, self._retention) and storable(*key)]:
            for key in set(past) - (await find(self._others, self._places, past)).keys():
                del firsts[key]
        placed = await self._listeners.grouped(self._places.grouped([firsts[key] for key in sorted(firsts)]))
        return await write_batch(self._finishing, placed, partial(_finish, now))

    async def mark_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        placed = self._places.grouped([key for key in keys if storable(*key)])
        for place, some in await self._listeners.grouped(placed):
            async with self._others.connection() as connection:
                await connection.fetch(_MARK_RUNNING[place], *key_columns(some), started_at, self._clock())

    async def overdue(self, now: datetime, limit: int) -> Sequence[Job]:
        rows = await self._others.fetch(_OVERDUE, now, limit)
        return [read_row(row).job for row in rows]


async def _finish(
    now: datetime, connection: "Connection", place: int, terminals: Sequence[Terminal]
) -> Sequence[JobKey]:
    ends = json_text([_ended_row(terminal) for terminal in terminals])
    values = [terminal.result and terminal.result.value for terminal in terminals]
    rows = await connection.fetch(_FINISH[place], ends, values, now)
    return [JobKey(*row) for row in rows]


def _ended_row(terminal: Terminal) -> dict[str, Any]:
    """A terminal record in `_COLUMNS`. Raises `InvalidInput` where a text of it cannot be stored."""
    result = terminal.result
    row = {name: getattr(terminal, name) for name in _PLAIN_COLUMNS}
    row["metadata"] = metadata_json(terminal.metadata) if terminal.metadata else "{}"
    row["error"] = error_json(terminal.error)
    row["result_content_type"] = result and result.content_type
    row["result_json_length"] = result and result.json_length
    row["keep_until"] = terminal.keep_until
    row.update(routed_columns(terminal))
    return row
