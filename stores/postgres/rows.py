"""Jobs as rows of Postgres: found by their keys and read; many written at once, whatever one of them holds."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from runtime.logs import get_logger
from schemas.errors import ErrorBody, InvalidInput
from schemas.jobs import Answer, Job, Payload, Status, Submitted, Terminal
from schemas.topics import LaneClass
from stores.postgres.errors import DRIVER_ERRORS, is_of_row
from stores.postgres.places import Places, in_each_place
from stores.protocols import INLINE_RESULT_BYTES, JobKey

if TYPE_CHECKING:
    import asyncpg

    from stores.postgres.calls import Connection, Postgres

log = get_logger(__name__)

Row = TypeVar("Row", Job, Terminal)
Written = TypeVar("Written")
Write: TypeAlias = "Callable[[Connection, int, Sequence[Row]], Awaitable[Iterable[Written]]]"

_JOB: Final = (
    "j.tenant, j.id, j.model, j.version, j.lane, j.status, j.created_at, j.expires_at, j.rows, j.answer, "
    "j.variant, j.batch_id, j.started_at, j.completed_at, j.metadata, j.error, j.keep_until, "
    "j.route_revision, j.cohort, j.rescue_to, j.moved_from, j.webhook, j.webhook_events"
)
WITHOUT_RESULT: Final = f"{_JOB}, null as result_content_type, null as result_json_length, null as result"
WITH_RESULT: Final = (
    f"{_JOB}, j.result_content_type, j.result_json_length, "
    f"case when octet_length(j.result) <= {INLINE_RESULT_BYTES} then j.result end as result"
)
FIND: Final = in_each_place(f"""
select {WITH_RESULT}
from unnest($1::text[], $2::text[]) as k (tenant, id) join {{jobs}} j using (tenant, id)
""")
# For a job that is asked for alone: without a join, Postgres takes half as long.
FIND_ONE: Final = in_each_place(f"select {WITH_RESULT} from {{jobs}} j where j.tenant = $1 and j.id = $2")
_SELECT_RESULT: Final = in_each_place(
    "select result, result_content_type, result_json_length from {jobs} where tenant = $1 and id = $2"
)

# What is written of how a route chose a job's version, with the type of each column.
ROUTED_COLUMNS: Final = {
    "route_revision": "integer",
    "cohort": "smallint",
    "rescue_to": "text",
    "moved_from": "text",
}

_STATUSES: Final = {str(status): status for status in Status}
_LANES: Final = {str(lane): lane for lane in LaneClass}
_ANSWERS: Final = {str(answer): answer for answer in Answer}
_error_decoder = msgspec.json.Decoder(ErrorBody)
_metadata_decoder = msgspec.json.Decoder(dict[str, Any])


class StoredJob(NamedTuple):
    """A job as a statement read it. `lacks_result`: it has one too large to come along."""

    job: Job
    lacks_result: bool


def recordset(columns: Mapping[str, str]) -> str:
    """The column definitions of a set of records."""
    return ", ".join(f"{name} {column}" for name, column in columns.items())


def key_columns(keys: Iterable[JobKey]) -> tuple[list[str], list[str]]:
    tenants, ids = [], []
    for tenant, job_id in keys:
        tenants.append(tenant)
        ids.append(job_id)
    return tenants, ids


def kept_until(completed_at: str) -> str:
    """Until when a job `j` is kept that ends then: its row says it for an end at the deadline.

    In seconds, since an interval of days is as long as the zone of the session has it. Never beyond the calendar, which
    ends sooner in Python than in Postgres.
    """
    until = f"{completed_at} + make_interval(secs => extract(epoch from j.keep_until - j.expires_at))"
    return f"case when j.keep_until is not null then least({until}, '{datetime.max.replace(tzinfo=UTC)}') end"


def routed_columns(job: Submitted) -> dict[str, Any]:
    """The job's `ROUTED_COLUMNS`. What is left out is null."""
    if job.revision is None and job.moved_from is None:  # nearly always, where there are no routes
        return {}
    return {
        "route_revision": job.revision,
        "cohort": job.cohort,
        "rescue_to": job.rescue_to,
        "moved_from": job.moved_from,
    }


def error_json(error: ErrorBody | None) -> str | None:
    return None if error is None else json_text(error)


def read_row(row: "asyncpg.Record | tuple[Any, ...]") -> StoredJob:
    """A row of `WITH_RESULT` or `WITHOUT_RESULT`."""
    # fmt: off
    (tenant, job_id, model, version, lane, status, created_at, expires_at, rows, answer, variant, batch_id,
     started_at, completed_at, metadata, error, keep_until, revision, cohort, rescue_to, moved_from,
     webhook, webhook_events, content_type, json_length, result) = row
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
        revision=revision,
        cohort=cohort,
        rescue_to=rescue_to,
        moved_from=moved_from,
        batch_id=batch_id,
        started_at=started_at,
        completed_at=completed_at,
        metadata={} if metadata == "{}" else _metadata_decoder.decode(metadata),
        error=None if error is None else _error_decoder.decode(error),
        retention_s=None if keep_until is None else round((keep_until - (completed_at or expires_at)).total_seconds()),
        result=None if result is None else Payload(result, content_type, json_length),
        webhook=webhook,
        webhook_events=None if webhook_events is None else tuple(webhook_events),
    )
    return StoredJob(job, lacks_result=content_type is not None and result is None)


def json_text(value: Any) -> str:
    """Raises `InvalidInput` for a text that holds half a surrogate pair."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise InvalidInput("a value does not fit the store") from error


async def find(store: "Connection | Postgres", places: Places, keys: Sequence[JobKey]) -> dict[JobKey, StoredJob]:
    """Those of the jobs that exist, without the results that are too large to be read in a group."""
    found: dict[JobKey, StoredJob] = {}
    for place, some in places.grouped(keys):
        if len(some) == 1:
            rows = await store.fetch(FIND_ONE[place], *some[0])
        else:
            rows = await store.fetch(FIND[place], *key_columns(some))
        found.update((JobKey(read.job.tenant, read.job.id), read) for read in map(read_row, rows))
    return found


async def with_result(postgres: "Postgres", places: Places, stored: StoredJob) -> Job | None:
    """The job with its result, fetched by itself where it was too large to come along; None where the job is gone by
    then."""
    job = stored.job
    if not stored.lacks_result:
        return job
    rows = await postgres.fetch(_SELECT_RESULT[places.of(job.id)], job.tenant, job.id)
    return msgspec.structs.replace(job, result=Payload(*rows[0])) if rows else None


async def write_batch(
    postgres: "Postgres",
    placed: Sequence[tuple[int, Sequence[Row]]],
    write: "Write[Row, Written]",
    *,
    largest: int = 1000,
    largest_bytes: int = 16 * 1024 * 1024,
) -> Sequence[Written]:
    """Everything `write` returns for the rows of each place, in statements of at most `largest` rows and
    `largest_bytes` of results.

    `write` is one statement, and each is a transaction of its own: none keeps locked what the next one waits for. A
    row that no statement can store is logged and left out.
    """
    async with postgres.connection() as connection:
        return [
            written
            for place, rows in placed
            for chunk in _chunks(rows, largest, largest_bytes)
            for written in await _write_storable(connection, place, chunk, write)
        ]


async def _write_storable(
    connection: "Connection", place: int, rows: Sequence[Row], write: "Write[Row, Written]"
) -> Iterable[Written]:
    try:
        return await write(connection, place, rows)
    except (InvalidInput, *DRIVER_ERRORS) as error:
        if not isinstance(error, InvalidInput) and not is_of_row(error):
            raise
        if len(rows) == 1:
            log.error("left out what the store cannot hold", tenant=rows[0].tenant, job=rows[0].id, error=str(error))
            return []
    half = len(rows) // 2
    return [
        written
        for part in (rows[:half], rows[half:])
        for written in await _write_storable(connection, place, part, write)
    ]


def _chunks(rows: Sequence[Row], largest: int, largest_bytes: int) -> Iterator[Sequence[Row]]:
    chunk: list[Row] = []
    chunk_bytes = 0
    for row in rows:
        row_bytes = 0 if row.result is None else len(row.result.value)
        if chunk and (len(chunk) == largest or chunk_bytes + row_bytes > largest_bytes):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append(row)
        chunk_bytes += row_bytes
    if chunk:
        yield chunk
