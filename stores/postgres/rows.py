"""Jobs to columns and back."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from schemas.errors import ErrorBody
from schemas.jobs import Answer, Job, Payload, Status
from schemas.topics import LaneClass
from stores.seams import JobKey
from stores.storable import metadata_json

if TYPE_CHECKING:
    import asyncpg

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
_QUEUED_GETTERS: Final = [attrgetter(name) for name in QUEUED_COLUMNS if name != "metadata"]

_STATUSES: Final = {str(status): status for status in Status}
_LANES: Final = {str(lane): lane for lane in LaneClass}
_ANSWERS: Final = {str(answer): answer for answer in Answer}
_error_decoder = msgspec.json.Decoder(ErrorBody)
_metadata_decoder = msgspec.json.Decoder(dict[str, Any])


class Found(NamedTuple):
    """A job as a statement read it. `lacks_result`: it has one too large to come along."""

    job: Job
    lacks_result: bool


def unnest(columns: Iterable[str], first: int = 1) -> str:
    """`unnest($1::text[], ...)` with one array parameter for each of the column types."""
    arrays = ", ".join(f"${number}::{column}[]" for number, column in enumerate(columns, first))
    return f"unnest({arrays})"


def queued_columns(jobs: Sequence[Job]) -> list[list[Any]]:
    """The arrays for `QUEUED_COLUMNS`."""
    columns = [list(map(getter, jobs)) for getter in _QUEUED_GETTERS]
    columns.append([metadata_json(job.metadata) if job.metadata else "{}" for job in jobs])
    return columns


def key_columns(keys: Iterable[JobKey]) -> tuple[list[str], list[str]]:
    tenants, ids = [], []
    for tenant, job_id in keys:
        tenants.append(tenant)
        ids.append(job_id)
    return tenants, ids


def error_json(error: ErrorBody | None) -> str | None:
    return None if error is None else msgspec.json.encode(error).decode()


def found(row: "asyncpg.Record") -> Found:
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
    return Found(job, lacks_result=content_type is not None and result is None)
