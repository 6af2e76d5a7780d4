"""A job: its id, its states, and the one terminal record it ends with."""

import hashlib
import os
import re
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from schemas.claims import Claim
from schemas.errors import Canceled, DeadlineExceeded, ErrorBody, PenstockError, RequestError
from schemas.topics import Lane, LaneClass

# What may stand in a URL path segment and in a Kafka key without escaping.
JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,127}")

OUR_SOURCES: Final = "/penstock/"
EVENT_PREFIX: Final = "event_"
DIGEST_CHARACTERS: Final = 40

# What a payload is by its content type: all of it JSON, or raw tensors behind its JSON.
JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"

# Two clocks that differ by more than this are worth a warning: jobs may miss deadlines for it.
CLOCKS_APART_S: Final = 5.0


def new_job_id() -> str:
    """A job id that sorts by creation time: milliseconds, then 80 random bits, in hex (RFC 9562 calls it version 7).

    Ordered ids keep the primary key's inserts at one end of the index and give lists their cursor.
    """
    return f"job_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def job_id_of(event_id: str, source: str | None) -> str:
    """The id of the job that a CloudEvent asks for; any text can be an event's id.

    An event is told apart by source and id together (CloudEvents 1.0.2, section 3.1), so that both are in the job's id:
    as a digest, but for events of our own and those that name no source, whose id is the job's where it can be one.
    """
    if (source is None or source.startswith(OUR_SOURCES)) and is_job_id(event_id):
        return event_id
    digest = hashlib.sha256(f"{source or ''}\n{event_id}".encode()).hexdigest()
    return f"{EVENT_PREFIX}{digest[:DIGEST_CHARACTERS]}"


def is_job_id(text: str) -> bool:
    return JOB_ID.fullmatch(text) is not None


class Status(StrEnum):
    """`queued -> running -> succeeded | failed | canceled`. Exactly three ends: clients poll any other for ever."""

    QUEUED = "queued"  # accepted: in its lane, or on its way there
    RUNNING = "running"  # a worker has had it for a while; quick jobs are never seen here
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # also a missed deadline: error.code is then `deadline_exceeded`
    CANCELED = "canceled"


# A job's time where nobody names one, in seconds.
DEFAULT_TIMEOUT_S: Final = 600

# How long a job is kept after its end, in seconds, where nobody says: not its client, not its model, not the setting.
DEFAULT_RETENTION_S: Final = 7 * 24 * 3600
# A client that is told of the end must have the time to fetch the result.
MIN_RETENTION_S: Final = 60
# What a client may ask for, where no setting says.
DEFAULT_RETENTION_MAX_S: Final = 30 * 24 * 3600
LONGEST_RETENTION_S: Final = 10 * 366 * 24 * 3600

TERMINAL: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED})


class Answer(StrEnum):
    """How the client asked, hence how it is answered."""

    TENSORS = "tensors"  # an Open Inference Protocol v2 response
    PREDICTIONS = "predictions"  # {"predictions": [...]}, one a row, with class labels where the signature names them


class Payload(msgspec.Struct, frozen=True):
    """Bytes as they travel: JSON, or JSON followed by raw little-endian tensors (the OIP binary extension).

    `json_length` is the length in bytes of the leading JSON, or None where all of it is JSON. With a `claim` the bytes
    lie in the blob store, and `value` is empty.
    """

    value: bytes
    content_type: str = JSON
    json_length: int | None = None
    claim: Claim | None = None


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job from its submission on, and told again with its end. Times are aware UTC datetimes.

    `reply_to` is the gateway, by the name it goes by while it runs, in which a request waits for the end. Lanes and
    terminal records carry `metadata` only where no row of the store has it. `retention_s` is how long the job is kept
    after its end, in whole seconds; None for the default, which the sink knows.

    `variant`, `revision` and `cohort` say how a route chose the version: see `schemas.routes.Choice`. `rescue_to` is
    the version that runs the job once more if this one fails by its own fault; `moved_from` the one that it was moved
    from, once it was. `row_errors`: a row that cannot be answered has an error of its own in the result.
    """

    tenant: str
    id: str
    model: str
    version: str
    lane: LaneClass
    created_at: datetime
    expires_at: datetime
    answer: Answer = Answer.TENSORS
    variant: str | None = None
    revision: int | None = None
    cohort: int | None = None
    rescue_to: str | None = None
    moved_from: str | None = None
    metadata: dict[str, Any] = {}
    reply_to: str | None = None
    retention_s: int | None = None
    row_errors: bool = False

    @property
    def lane_of(self) -> Lane:
        return Lane(self.model, self.version, self.lane)


class Job(Submitted, frozen=True, kw_only=True):
    """One request for inference, as the store keeps it. `rows` counts its rows.

    `webhook` is the URL that is told of it; `webhook_events` says of which events, None for its end alone. Only the
    store has them: a job with a webhook is written down before its record.
    """

    status: Status
    rows: int = 1
    batch_id: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: ErrorBody | None = None
    result: Payload | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None

    @property
    def done(self) -> bool:
        return self.status in TERMINAL

    @property
    def keep_until(self) -> datetime | None:
        """Until when it is kept, if it ends at its deadline or has ended. None where the default says."""
        return kept_until(self.completed_at or self.expires_at, self.retention_s)


class Terminal(Submitted, frozen=True, kw_only=True):
    """The record a job ends with. Holds enough of the job to stand alone when the store has never heard of it."""

    status: Status
    completed_at: datetime
    rows: int = 1
    started_at: datetime | None = None
    error: ErrorBody | None = None
    result: Payload | None = None

    @property
    def keep_until(self) -> datetime | None:
        """Until when the job is kept; None where the default says."""
        return kept_until(self.completed_at, self.retention_s)


def read_row_errors(text: str | None) -> bool:
    """The option as text. Raises `RequestError`."""
    if text not in (None, "true", "false"):
        raise RequestError("row_errors must be true or false", param="row_errors")
    return text == "true"


def check_retention(retention_s: int, longest_s: float) -> None:
    """Raises `RequestError` for a time that no client may ask for."""
    if not MIN_RETENTION_S <= retention_s <= longest_s:
        raise RequestError(
            f"retention_s must be between {MIN_RETENTION_S} and {int(longest_s)} seconds", param="retention_s"
        )


def kept_until(completed_at: datetime, retention_s: int | None) -> datetime | None:
    return None if retention_s is None else kept_for(completed_at, retention_s)


def kept_for(completed_at: datetime, retention_s: int) -> datetime:
    """Never beyond the calendar: an end can be told with any time."""
    try:
        return completed_at + timedelta(seconds=retention_s)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


# What the end tells of a job that another version ran than it was admitted for.
MOVED: Final = ("version", "variant", "revision", "cohort")


def ended(job: Job, end: Terminal) -> Job:
    """The job with its end; it keeps all that was said at its admission, but for the version where another ran it."""
    moved = {name: getattr(end, name) for name in MOVED} if end.version not in ("", job.version) else {}
    return msgspec.structs.replace(
        job,
        **moved,
        moved_from=end.moved_from or job.moved_from,
        status=end.status,
        started_at=end.started_at or job.started_at,
        completed_at=end.completed_at,
        retention_s=job.retention_s if end.retention_s is None else end.retention_s,
        error=end.error,
        result=end.result,
    )


def end_of(
    job: Submitted,
    outcome: Payload | PenstockError,
    completed_at: datetime,
    *,
    rows: int = 1,
    started_at: datetime | None = None,
) -> Terminal:
    """The end of a job, with its result or with the error that it has instead."""
    error = outcome if isinstance(outcome, PenstockError) else None
    failed = Status.CANCELED if isinstance(error, Canceled) else Status.FAILED
    return Terminal(
        tenant=job.tenant,
        id=job.id,
        model=job.model,
        version=job.version,
        lane=job.lane,
        status=failed if error else Status.SUCCEEDED,
        created_at=job.created_at,
        expires_at=job.expires_at,
        completed_at=completed_at,
        rows=rows,
        answer=job.answer,
        variant=job.variant,
        revision=job.revision,
        cohort=job.cohort,
        moved_from=job.moved_from,
        metadata=job.metadata,
        reply_to=job.reply_to,
        retention_s=job.retention_s,
        row_errors=job.row_errors,
        started_at=started_at,
        error=error.body() if error else None,
        result=outcome if isinstance(outcome, Payload) else None,
    )


def deadline_passed(
    what: str, asked_at: datetime, expires_at: datetime, now: datetime, ahead_s: float = 0.0
) -> DeadlineExceeded:
    """Why a job ends that was not `what` in time, with all that tells whether it was late or clocks are apart.

    `ahead_s` is by how many seconds the clock that told of the job is known to be ahead of ours.
    """
    late_s, age_s = (now - expires_at).total_seconds(), (now - asked_at).total_seconds()
    told = f"the deadline passed {late_s:.1f} s before the job could be {what}, {age_s:.1f} s after it was asked for"
    apart = f"; the clock that says so is {ahead_s:.1f} s ahead of ours" if ahead_s >= CLOCKS_APART_S else ""
    return DeadlineExceeded(f"{told}, by the clocks of two machines{apart}")


def queued_before(end: Terminal) -> Job:
    """The job as it was before this end, as far as the end tells."""
    told = {name: getattr(end, name) for name in Submitted.__struct_fields__}
    return Job(**told, status=Status.QUEUED, rows=end.rows)


def told_as(job: Job, other: Job | None) -> Job:
    """The job with the other's webhook, if it has none of its own."""
    if other is None or other.webhook is None or job.webhook is not None:
        return job
    return msgspec.structs.replace(job, webhook=other.webhook, webhook_events=other.webhook_events)


def failed_end(job: Job, error: PenstockError, completed_at: datetime) -> Terminal:
    """The end of a job of the store's that has no result, for a reason found outside the model."""
    return end_of(job, error, completed_at, rows=job.rows, started_at=job.started_at)
