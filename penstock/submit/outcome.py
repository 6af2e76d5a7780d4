"""What became of a line: one JSON object in the output file."""

from enum import StrEnum
from typing import Final

import msgspec

from schemas.errors import ErrorBody
from schemas.jobs import Status

NOTHING: Final = msgspec.Raw(b"null")


class LineStatus(StrEnum):
    """The states of a job that a run can end with, and two that no job has."""

    QUEUED = "queued"  # accepted; not waited for, or the run ended first
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"  # never became a job: the line is wrong, or the server refused it
    UNKNOWN = "unknown"  # accepted, but no result came within the job's deadline


class Ending(msgspec.Struct, frozen=True):
    """How a job ended. `result` and `error` are JSON as it came; null where there is none."""

    status: LineStatus
    result: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class Outcome(msgspec.Struct, frozen=True):
    """`line` counts from 1; `id` is null for a line that never became a job. At most one of `result` and `error`."""

    line: int
    custom_id: str | None
    id: str | None
    status: LineStatus
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def ended(line: int, custom_id: str | None, job_id: str, ending: Ending) -> Outcome:
    return Outcome(line, custom_id, job_id, ending.status, _given(ending.result), _given(ending.error))


def rejected(line: int, custom_id: str | None, error: ErrorBody) -> Outcome:
    return Outcome(line, custom_id, None, LineStatus.REJECTED, error=as_raw(error))


def unknown(accepted: Outcome, error: ErrorBody) -> Outcome:
    """The outcome of a job that was accepted and cannot be asked about any more."""
    return msgspec.structs.replace(accepted, status=LineStatus.UNKNOWN, error=as_raw(error))


def as_raw(error: ErrorBody) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(error))


def status_of(status: Status) -> LineStatus:
    """A job that still runs is `queued` here: its line has no result yet."""
    return LineStatus.QUEUED if status is Status.RUNNING else LineStatus(status)


def _given(raw: msgspec.Raw) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if raw == NOTHING else raw
