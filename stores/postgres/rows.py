"""Jobs as rows of Postgres: to columns and back, written as queued, found by their keys."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from schemas.errors import ErrorBody, InvalidInput
from schemas.jobs import Answer, Job, Payload, Status
from schemas.topics import LaneClass
from stores.protocols import JobKey
from stores.validation import check_names, metadata_json

if TYPE_CHECKING:
    import asyncpg

    from stores.postgres.pool import Connection, Postgres

# A result above this many bytes is not read together with others: a group of reads stays below 32 MiB.
INLINE_RESULT_BYTES: Final = 64 * 1024

_JOB: Final = (
    "j.tenant, j.id, j.model, j.version, j.lane, j.status, j.created_at, j.expires_at, j.rows, j.answer, "
    "j.variant, j.batch_id, j.started_at, j.completed_at, j.metadata, j.error"
)
WITHOUT_RESULT: Final = f"{_JOB}, null as result_content_type, null as result_json_length, null as result"
WITH_RESULT: Final = (
    f"{_JOB}, j.result_content_type, j.result_json_length, "
    f"case when octet_length(j.result) <= {INLINE_RESULT_BYTES} then j.result end as result"
)

# What is written of a queued job, with the type of each column.
QUEUED_COLUMNS: Final = {
    "tenant": "text",
    "id": "text",
    "model": "text",
    "version": "text",
    "lane": "text",
    "created_at": "timestamptz",
    "expires_at": "timestamptz",
    "rows": "integer",
    "answer": "text",
    "variant": "text",
    "batch_id": "text",
    "metadata": "text",
}

# How many calls may wait before a second connection of those that group calls is used.
MORE_LANES_AFTER: Final = 32

INSERTED: Final = ", ".join(QUEUED_COLUMNS)
SELECTED: Final = INSERTED.replace("metadata", "metadata::json")


def recordset(columns: Mapping[str, str]) -> str:
    """The column definitions of a set of records."""
    return ", ".join(f"{name} {column}" for name, column in columns.items())


# One JSON parameter: a third less processor time than an array a column, and half of it a row in large groups.
INSERT_QUEUED: Final = f"""
insert into jobs ({INSERTED}, status)
select {SELECTED}, 'queued' from json_to_recordset($1::json) as asked ({recordset(QUEUED_COLUMNS)})
on conflict do nothing
returning tenant, id
"""
FIND: Final = f"""
select {WITH_RESULT}
from unnest($1::text[], $2::text[]) as k (tenant, id) join jobs j using (tenant, id)
"""
_SELECT_RESULT: Final = "select result, result_content_type, result_json_length from jobs where tenant = $1 and id = $2"

_STATUSES: Final = {str(status): status for status in Status}
_LANES: Final = {str(lane): lane for lane in LaneClass}
_ANSWERS: Final = {str(answer): answer for answer in Answer}
_error_decoder = msgspec.json.Decoder(ErrorBody)
_metadata_decoder = msgspec.json.Decoder(dict[str, Any])


class StoredJob(NamedTuple):
    """A job as a statement read it. `lacks_result`: it has one too large to come along."""

    job: Job
    lacks_result: bool


def key_columns(keys: Iterable[JobKey]) -> tuple[list[str], list[str]]:
    tenants, ids = [], []
    for tenant, job_id in keys:
        tenants.append(tenant)
        ids.append(job_id)
    return tenants, ids


def error_json(error: ErrorBody | None) -> str | None:
    return None if error is None else json_text(error)


def read_row(row: "asyncpg.Record") -> StoredJob:
    """A row of `WITH_RESULT` or `WITHOUT_RESULT`."""
    # fmt: off
    (tenant, job_id, model, version, lane, status, created_at, expires_at, rows, answer, variant, batch_id,
     started_at, completed_at, metadata, error, content_type, json_length, result) = row
    # fmt: on
    job = Job(
        tenant=tenant,
        id=job_id,
        model=model,
        version=version,
        lane=_LANES[lane],
        status=_STATUSES[status],
        created_at=created_at,
        expires_at=expires_at,
        rows=rows,
        answer=_ANSWERS[answer],
        variant=variant,
        batch_id=batch_id,
        started_at=started_at,
        completed_at=completed_at,
        metadata={} if metadata == "{}" else _metadata_decoder.decode(metadata),
        error=None if error is None else _error_decoder.decode(error),
        result=None if result is None else Payload(result, content_type, json_length),
    )
    return StoredJob(job, lacks_result=content_type is not None and result is None)


def in_lock_order(job: Job) -> tuple[str, str]:
    """Statements that write many jobs do it in this order, so that two of them never wait for each other."""
    return job.tenant, job.id


def queued_row(job: Job) -> dict[str, Any]:
    """A job in `QUEUED_COLUMNS`. Raises `InvalidInput` where it cannot be stored.

    Metadata is JSON within JSON: of text, `recordset` reads any character but NUL.
    """
    check_names(job)
    return {
        "tenant": job.tenant,
        "id": job.id,
        "model": job.model,
        "version": job.version,
        "lane": job.lane,
        "created_at": job.created_at,
        "expires_at": job.expires_at,
        "rows": job.rows,
        "answer": job.answer,
        "variant": job.variant,
        "batch_id": job.batch_id,
        "metadata": metadata_json(job.metadata) if job.metadata else "{}",
    }


def queued_json(jobs: Iterable[Job]) -> str:
    """The parameter of `INSERT_QUEUED`."""
    return json_text([queued_row(job) for job in jobs])


def json_text(value: Any) -> str:
    """Raises `InvalidInput` for a text that holds half a surrogate pair."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise InvalidInput("a value does not fit the store") from error


async def insert_queued(connection: "Connection", jobs: Sequence[Job]) -> set[JobKey]:
    """Write those of the jobs that are new, in the order of `jobs`. Returns which.

    Waits for an insert of the same job that is still under way elsewhere.
    """
    rows = await connection.fetch(INSERT_QUEUED, queued_json(jobs))
    return {JobKey(*row) for row in rows}


async def find(connection: "Connection", keys: Iterable[JobKey]) -> dict[JobKey, StoredJob]:
    """Those of the jobs that exist, without the results that are too large to be read in a group."""
    return by_key(await connection.fetch(FIND, *key_columns(keys)))


def by_key(rows: "Iterable[asyncpg.Record]") -> dict[JobKey, StoredJob]:
    """Rows of `FIND`, read."""
    return {JobKey(read.job.tenant, read.job.id): read for read in map(read_row, rows)}


async def with_result(postgres: "Postgres", stored: StoredJob) -> Job:
    """The job with its result, fetched by itself where it was too large to come along."""
    if not stored.lacks_result:
        return stored.job
    row = await postgres.fetchrow(_SELECT_RESULT, stored.job.tenant, stored.job.id)
    return stored.job if row is None else msgspec.structs.replace(stored.job, result=Payload(*row))
