"""A role of the first release, as far as Postgres can tell: its schema and its statements, to the letter.

Nothing here is kept up with the code: it is what runs beside a new version until an upgrade is through.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.jobs import Job, Payload, Terminal
from stores.postgres.migrations import known_migrations
from stores.protocols import CANCELED, JobKey
from tests.integration.stores.migrating import session

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

APPLICATION_NAME = "penstock"
NEWEST = 4
LEDGER = """
create table if not exists schema_migrations (
    number     integer     primary key,
    name       text        not null,
    sha256     text        not null,
    applied_at timestamptz not null default now()
)
"""

QUEUED = "tenant, id, model, version, lane, created_at, expires_at, rows, answer, variant, batch_id, metadata"
QUEUED_AS_JSON = (
    "tenant text, id text, model text, version text, lane text, created_at timestamptz, expires_at timestamptz, "
    "rows integer, answer text, variant text, batch_id text, metadata text"
)
ENDED = (
    "tenant, id, model, version, lane, status, created_at, expires_at, completed_at, rows, answer, variant, "
    "started_at, metadata, error, result_content_type, result_json_length, result"
)
ENDED_AS_JSON = (
    "tenant text, id text, model text, version text, lane text, status text, created_at timestamptz, "
    "expires_at timestamptz, completed_at timestamptz, rows integer, answer text, variant text, "
    "started_at timestamptz, metadata text, error text, result_content_type text, result_json_length integer"
)
JOB = (
    "j.tenant, j.id, j.model, j.version, j.lane, j.status, j.created_at, j.expires_at, j.rows, j.answer, "
    "j.variant, j.batch_id, j.started_at, j.completed_at, j.metadata, j.error"
)
INSERT = f"""
insert into jobs ({QUEUED}, status)
select {QUEUED.replace("metadata", "metadata::json")}, 'queued'
from json_to_recordset($1::json) as asked ({QUEUED_AS_JSON})
on conflict do nothing
returning tenant, id
"""
TAKE = f"""
with asked as (
    select * from json_to_recordset($3::json) as asked ({QUEUED_AS_JSON}, key text, fingerprint text)
), taken as (
    insert into idempotency_keys (tenant, key, fingerprint, job_id, holder, created_at, locked_until)
    select tenant, key, decode(fingerprint, 'hex'), id, id, $1, $2 from asked
    on conflict do nothing
    returning tenant, job_id as id
), inserted as (
    insert into jobs ({QUEUED}, status)
    select {QUEUED.replace("metadata", "metadata::json")}, 'queued' from asked join taken using (tenant, id)
    on conflict do nothing
)
select tenant, id from taken
"""
CONFIRM = """
with answered as (
    select k.tenant, k.key, k.job_id, k.holder
    from unnest($1::text[], $2::text[], $3::text[]) as asked (tenant, key, job_id)
    join idempotency_keys k using (tenant, key, job_id)
    order by k.tenant, k.key
    for update of k
), released as (
    update idempotency_keys k set locked_until = null, holder = null
    from answered where k.tenant = answered.tenant and k.key = answered.key
)
select tenant, job_id from answered where holder <> job_id
"""
RECALL = """
select k.tenant, k.key, k.fingerprint, k.job_id, k.locked_until, k.holder
from idempotency_keys k where k.tenant = $1 and k.key = $2
"""
WITHDRAW = """
with queued as (
    select j.tenant, j.id
    from unnest($1::text[], $2::text[]) as k (tenant, id) join jobs j using (tenant, id)
    where j.status = 'queued'
    order by j.tenant, j.id
    for update of j
)
delete from jobs j using queued where j.tenant = queued.tenant and j.id = queued.id
"""
FINISH = f"""
insert into jobs as j ({ENDED})
select {ENDED.replace("metadata, error", "metadata::json, error::json")}
from rows from (json_to_recordset($1::json) as ({ENDED_AS_JSON}), unnest($2::bytea[])) as ended ({ENDED})
on conflict (tenant, id) do update set
    status = excluded.status,
    started_at = coalesce(excluded.started_at, j.started_at),
    completed_at = excluded.completed_at,
    error = excluded.error,
    result = excluded.result,
    result_content_type = excluded.result_content_type,
    result_json_length = excluded.result_json_length
where j.completed_at is null
returning j.tenant, j.id
"""
MARK_RUNNING = """
with queued as (
    select j.tenant, j.id
    from unnest($1::text[], $2::text[]) as k (tenant, id) join jobs j using (tenant, id)
    where j.status = 'queued'
    order by j.tenant, j.id
    for no key update of j
)
update jobs j set status = 'running', started_at = $3
from queued where j.tenant = queued.tenant and j.id = queued.id
"""
OVERDUE = f"""
select {JOB}, null as result_content_type, null as result_json_length, null as result from jobs j
where j.completed_at is null and j.expires_at <= $1
order by j.expires_at limit $2
"""
PURGE = """
delete from idempotency_keys where ctid = any (array(
    select ctid from idempotency_keys where created_at < $1 limit 10000 for update skip locked
))
"""
FIND = f"""
select {JOB}, j.result_content_type, j.result_json_length,
    case when octet_length(j.result) <= 65536 then j.result end as result
from unnest($1::text[], $2::text[]) as k (tenant, id) join jobs j using (tenant, id)
"""
RESULT = "select result, result_content_type, result_json_length from jobs where tenant = $1 and id = $2"
CANCEL = f"""
update jobs j set status = 'canceled', completed_at = $3, error = $4::json
where j.tenant = $1 and j.id = $2 and j.completed_at is null
returning {JOB}, null as result_content_type, null as result_json_length, null as result
"""
LIST = f"""
select {JOB}, null as result_content_type, null as result_json_length, null as result
from jobs j where j.tenant = $1 order by j.created_at desc, j.id desc limit $2
"""


async def make_old_database(dsn: str) -> None:
    """What the first release's `penstock migrate` did: all in one transaction."""
    async with session(dsn) as connection, connection.transaction():
        await connection.execute(LEDGER)
        for migration in known_migrations()[:NEWEST]:
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into schema_migrations (number, name, sha256) values ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.sha256,
            )


class OldRole:
    """Gateway and sink in one, on one connection that it keeps, and its statements with it."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def insert(self, jobs: Sequence[Job]) -> None:
        await self._connection.execute(INSERT, _json([_queued(job) for job in sorted(jobs, key=lambda job: job.id)]))

    async def take(self, job: Job, key: str) -> bool:
        """Whether the key was new."""
        now = datetime.now(UTC)
        row = _queued(job) | {"key": key, "fingerprint": b"body".hex()}
        return await self._connection.fetch(TAKE, now, now + timedelta(seconds=30), _json([row])) != []

    async def confirm(self, job: Job, key: str) -> None:
        await self._connection.execute(CONFIRM, [job.tenant], [key], [job.id])

    async def recall(self, tenant: str, key: str) -> str | None:
        """The id of the job that a key was answered with."""
        row = await self._connection.fetchrow(RECALL, tenant, key)
        return row["job_id"] if row is not None and row["locked_until"] is None else None

    async def withdraw(self, job: Job) -> None:
        async with self._connection.transaction():
            await self.insert([job])
            await self._connection.execute(WITHDRAW, [job.tenant], [job.id])

    async def finish(self, terminals: Sequence[Terminal]) -> list[JobKey]:
        ordered = sorted(terminals, key=lambda terminal: terminal.id)
        values = [terminal.result and terminal.result.value for terminal in ordered]
        rows = await self._connection.fetch(FINISH, _json([_ended(terminal) for terminal in ordered]), values)
        return [JobKey(*row) for row in rows]

    async def mark_running(self, keys: Sequence[JobKey]) -> None:
        await self._connection.execute(MARK_RUNNING, *_columns(keys), datetime.now(UTC))

    async def cancel(self, key: JobKey) -> None:
        await self._connection.fetch(CANCEL, *key, datetime.now(UTC), _json(CANCELED))

    async def statuses(self, keys: Sequence[JobKey]) -> Mapping[JobKey, str]:
        rows = await self._connection.fetch(FIND, *_columns(keys))
        found = {JobKey(row["tenant"], row["id"]): str(row["status"]) for row in rows}
        assert len(found) == len(rows)  # no job twice
        return found

    async def result(self, key: JobKey) -> Payload | None:
        (row,) = await self._connection.fetch(RESULT, *key)
        return None if row["result"] is None else Payload(*row)

    async def newest(self, tenant: str, limit: int) -> list[str]:
        return [row["id"] for row in await self._connection.fetch(LIST, tenant, limit)]

    async def overdue(self) -> list[str]:
        return [row["id"] for row in await self._connection.fetch(OVERDUE, datetime.now(UTC), 1000)]

    async def purge(self) -> None:
        await self._connection.execute(PURGE, datetime.now(UTC) - timedelta(days=1))


def _columns(keys: Sequence[JobKey]) -> tuple[list[str], list[str]]:
    return [key.tenant for key in keys], [key.id for key in keys]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _queued(job: Job) -> dict[str, Any]:
    names = [name.strip() for name in QUEUED.split(",")]
    return {name: getattr(job, name) for name in names} | {"metadata": _json(job.metadata)}


def _ended(terminal: Terminal) -> dict[str, Any]:
    names = [name.strip() for name in ENDED.split(",") if "result" not in name]
    return {name: getattr(terminal, name) for name in names} | {
        "metadata": _json(terminal.metadata),
        "error": None if terminal.error is None else _json(terminal.error),
        "result_content_type": terminal.result and terminal.result.content_type,
        "result_json_length": terminal.result and terminal.result.json_length,
    }
