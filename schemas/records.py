"""Kafka records: CloudEvents in binary mode. Attributes travel as `ce_*` headers, the value is the payload as it is.

Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2. Extension attributes are ours: lower-case letters only.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from schemas.claims import claim_headers, read_claim
from schemas.errors import ErrorBody, RequestError, Undecodable
from schemas.jobs import TERMINAL, Answer, Job, Payload, Status, Submitted, Terminal, is_job_id
from schemas.metadata import parse_metadata
from schemas.names import DEFAULT_TENANT, is_instance, is_model_name, is_version
from schemas.routes import COHORTS
from schemas.topics import Lane, LaneClass

Headers = list[tuple[str, bytes]]

JOB_TYPE: Final = "io.penstock.job.v1"
RESULT_TYPE: Final = "io.penstock.result.v1"
ATTEMPT_HEADER: Final = "ce_attempt"
RETRY_REASON_HEADER: Final = "ce_retryreason"
SHADOW_OF_HEADER: Final = "ce_shadowof"
# What stands in a lane record beside the input: its headers, at their longest.
RECORD_HEADERS_BYTES: Final = 4096
ROW_ERRORS_HEADER: Final = "ce_rowerrors"
_DEFAULT_TENANT: Final = DEFAULT_TENANT.encode()
_JSON: Final = b"application/json"
_INT32: Final = 2**31  # numbers have four bytes in the store


class OutRecord(NamedTuple):
    """A record to be published. `key` decides the partition, unless `partition` does or `any_partition` will do.

    `grown`: it was taken once, and headers of ours were added since; they may take it beyond the largest record.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    any_partition: bool = False
    grown: bool = False


class ShadowOf(msgspec.Struct, frozen=True):
    """What makes a job in a lane a copy: the version that ran the job itself, and the outputs that it gave, as
    `schemas.shadows` packs them."""

    version: str
    outputs: bytes


class LaneJob(Submitted, frozen=True, kw_only=True):
    """A job as it lies in a lane: version chosen, inputs checked, ready to run.

    `attempt` counts how often it was tried before, each time in vain for a reason that may pass. `shadow_of` stands in
    a copy, which runs to be compared, and never ends as a job does.
    """

    payload: Payload
    traceparent: str | None = None
    attempt: int = 0
    shadow_of: ShadowOf | None = None


def lane_job(
    job: Job, payload: Payload, traceparent: str | None, *, reply_to: str | None = None, written: bool = True
) -> LaneJob:
    """A job with its checked input, ready for its lane. `written`: the store has it, with its metadata."""
    return LaneJob(
        tenant=job.tenant,
        id=job.id,
        model=job.model,
        version=job.version,
        lane=job.lane,
        created_at=job.created_at,
        expires_at=job.expires_at,
        answer=job.answer,
        variant=job.variant,
        revision=job.revision,
        cohort=job.cohort,
        rescue_to=job.rescue_to,
        moved_from=job.moved_from,
        metadata={} if written else job.metadata,
        reply_to=reply_to,
        retention_s=job.retention_s,
        row_errors=job.row_errors,
        payload=payload,
        traceparent=traceparent,
    )


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as all our records carry."""
    return _written(moment).decode()


def _written(moment: datetime) -> bytes:
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    text = _encoder.encode(utc)  # in quotes, in a quarter of the time that `isoformat` takes
    return text[1:24] + b"Z" if utc.microsecond else text[1:20] + b".000Z"


_encoder: Final = msgspec.json.Encoder()


# What is the same for every record of a lane, and the two times that all jobs of a micro-batch share, are encoded once.
@lru_cache(maxsize=4096)
def _lane_headers(kind: str, source: str, tenant: str, model: str, version: str, lane: LaneClass) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", kind.encode()),
        ("ce_tenant", tenant.encode()),
        ("ce_model", model.encode()),
        ("ce_modelversion", version.encode()),
        ("ce_lane", lane.encode()),
    ]


@lru_cache(maxsize=16)
def _end_headers(status: Status, answer: Answer) -> Headers:
    return [("ce_status", status.encode()), ("ce_answer", answer.encode())]


@lru_cache(maxsize=256)
def _batch_time(moment: datetime) -> bytes:
    return _written(moment)


def lane_record(topic: str, job: LaneJob, source: str) -> OutRecord:
    key = job.id.encode()
    headers: Headers = [
        ("ce_id", key),
        ("ce_time", _written(job.created_at)),
        ("ce_deadline", _written(job.expires_at)),
        ("ce_answer", job.answer.encode()),
        ("content-type", job.payload.content_type.encode()),
        *_lane_headers(JOB_TYPE, source, job.tenant, job.model, job.version, job.lane),
    ]
    _add_optional(headers, job, job.payload)
    if job.traceparent is not None:
        headers.append(("traceparent", job.traceparent.encode()))
    if job.attempt:
        headers.append((ATTEMPT_HEADER, b"%d" % job.attempt))
    value = job.payload.value
    if job.shadow_of is not None:
        headers += [(SHADOW_OF_HEADER, job.shadow_of.version.encode()), ("ce_inputlength", b"%d" % len(value))]
        value = b"".join([value, job.shadow_of.outputs])
    return OutRecord(topic, key, value, headers, any_partition=True)


def read_lane_record(headers: tuple[tuple[str, bytes], ...], value: bytes | None) -> LaneJob:
    """The job in a lane's record. Raises `Undecodable` for what no gateway or router wrote."""
    fields = dict(headers)
    try:
        if value is None:
            raise Undecodable("the record has no value")
        value, shadow_of = _without_answer(fields, value) if SHADOW_OF_HEADER in fields else (value, None)
        tenant, model, version, lane, answer, content_type = _lane_facts(
            fields.get("ce_tenant", _DEFAULT_TENANT),
            fields["ce_model"],
            fields["ce_modelversion"],
            fields.get("ce_lane", b"live"),
            fields.get("ce_answer", b"tensors"),
            fields.get("content-type", _JSON),
        )
        return LaneJob(
            id=_job_id(fields),
            tenant=tenant,
            model=model,
            version=version,
            lane=lane,
            created_at=read_moment(fields["ce_time"]),
            expires_at=read_moment(fields["ce_deadline"]),
            payload=_lane_payload(fields, tenant, value, content_type),
            answer=answer,
            variant=_optional(fields, "ce_variant"),
            revision=_optional_count(fields, "ce_routerevision"),
            cohort=_cohort(fields),
            rescue_to=_version(fields, "ce_rescueto"),
            moved_from=_version(fields, "ce_movedfrom"),
            metadata=_metadata(fields),
            reply_to=_reply_to(fields),
            retention_s=_optional_count(fields, "ce_retention"),
            row_errors=fields.get(ROW_ERRORS_HEADER) == b"true",
            traceparent=_optional(fields, "traceparent"),
            attempt=_count(fields.get(ATTEMPT_HEADER, b"0")),
            shadow_of=shadow_of,
        )
    except KeyError as error:
        raise Undecodable(f"header {error.args[0]} is missing") from error
    except ValueError as error:
        raise Undecodable(f"a header is malformed: {error}") from error


def _lane_payload(fields: dict[str, bytes], tenant: str, value: bytes, content_type: str) -> Payload:
    try:
        claim = read_claim(fields, tenant)
    except RequestError as error:
        raise Undecodable(error.message) from error
    if claim is not None and value:
        raise Undecodable("the record has both a claim and a value")
    return Payload(value, content_type, _optional_count(fields, "ce_jsonlength"), claim)


# They are the same in nearly every record of a lane.
@lru_cache(maxsize=64)
def _lane_facts(
    tenant: bytes, model: bytes, version: bytes, lane: bytes, answer: bytes, content_type: bytes
) -> tuple[str, str, str, LaneClass, Answer, str]:
    return (
        _text(tenant),
        _text(model),
        _text(version),
        LaneClass(lane.decode()),
        Answer(answer.decode()),
        _text(content_type),
    )


def terminal_record(topic: str, terminal: Terminal, source: str) -> OutRecord:
    """The result record of a job: keyed by its id, so that all records of one job stand in one partition in order."""
    payload = terminal.result or Payload(msgspec.json.encode({"error": terminal.error}))
    key = terminal.id.encode()
    headers: Headers = [
        ("ce_id", key),
        ("ce_time", _batch_time(terminal.completed_at)),
        ("ce_createdtime", _written(terminal.created_at)),
        ("ce_deadline", _written(terminal.expires_at)),
        ("ce_rows", b"%d" % terminal.rows),
        ("content-type", payload.content_type.encode()),
        *_lane_headers(RESULT_TYPE, source, terminal.tenant, terminal.model, terminal.version, terminal.lane),
        *_end_headers(terminal.status, terminal.answer),
    ]
    _add_optional(headers, terminal, payload)
    if terminal.started_at is not None:
        headers.append(("ce_startedtime", _batch_time(terminal.started_at)))
    return OutRecord(topic, key, payload.value, headers)


def read_terminal_record(headers: tuple[tuple[str, bytes], ...], value: bytes | None) -> Terminal:
    """The terminal record in a results record. Raises `Undecodable` for anything else."""
    fields = dict(headers)
    try:
        if value is None:
            raise Undecodable("the record has no value")
        status = Status(fields["ce_status"].decode())
        if status not in TERMINAL:
            raise Undecodable(f"ce_status {status} is not terminal")
        started = _optional(fields, "ce_startedtime")
        succeeded = status is Status.SUCCEEDED
        tenant, model, version, lane, answer, content_type = _lane_facts(
            fields.get("ce_tenant", _DEFAULT_TENANT),
            fields["ce_model"],
            fields["ce_modelversion"],
            fields["ce_lane"],
            fields["ce_answer"],
            fields.get("content-type", _JSON),
        )
        return Terminal(
            tenant=tenant,
            id=_job_id(fields),
            model=model,
            version=version,
            lane=lane,
            status=status,
            created_at=read_moment(fields["ce_createdtime"]),
            expires_at=read_moment(fields["ce_deadline"]),
            completed_at=read_moment(fields["ce_time"]),
            rows=_count(fields.get("ce_rows", b"1")),
            answer=answer,
            variant=_optional(fields, "ce_variant"),
            revision=_optional_count(fields, "ce_routerevision"),
            cohort=_cohort(fields),
            moved_from=_version(fields, "ce_movedfrom"),
            metadata=_metadata(fields),
            reply_to=_reply_to(fields),
            retention_s=_optional_count(fields, "ce_retention"),
            row_errors=fields.get(ROW_ERRORS_HEADER) == b"true",
            started_at=read_moment(started.encode()) if started else None,
            error=None if succeeded else _error(value),
            result=Payload(value, content_type, _optional_count(fields, "ce_jsonlength")) if succeeded else None,
        )
    except KeyError as error:
        raise Undecodable(f"header {error.args[0]} is missing") from error
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
        raise Undecodable(f"the record is malformed: {error}") from error


def is_copy(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether the record of a lane is a copy for a shadow, readable or not."""
    return any(name == SHADOW_OF_HEADER for name, _ in headers)


def lane_of(job: LaneJob) -> Lane:
    """The lane a job belongs to. Raises `Undecodable` where its model or version is no name of ours."""
    if not (is_model_name(job.model) and is_version(job.version)):
        raise Undecodable(f"not a model version: {job.model}/{job.version}")
    return job.lane_of


class _ErrorValue(msgspec.Struct, frozen=True):
    error: ErrorBody


_error_decoder = msgspec.json.Decoder(_ErrorValue)


def _error(value: bytes) -> ErrorBody:
    return _error_decoder.decode(value).error


def _add_optional(headers: Headers, job: Submitted, payload: Payload) -> None:
    if payload.json_length is not None:
        headers.append(("ce_jsonlength", b"%d" % payload.json_length))
    if payload.claim is not None:
        headers += claim_headers(payload.claim)
    _add_route(headers, job)
    if job.metadata:
        headers.append(("ce_metadata", msgspec.json.encode(job.metadata)))
    if job.reply_to is not None:
        headers.append(("ce_replyto", job.reply_to.encode()))
    if job.retention_s is not None:
        headers.append(("ce_retention", b"%d" % job.retention_s))
    if job.row_errors:
        headers.append((ROW_ERRORS_HEADER, b"true"))


def _add_route(headers: Headers, job: Submitted) -> None:
    if job.variant is not None:
        headers.append(("ce_variant", job.variant.encode()))
    if job.revision is not None:
        headers.append(("ce_routerevision", b"%d" % job.revision))
    if job.cohort is not None:
        headers.append(("ce_cohort", b"%d" % job.cohort))
    if job.rescue_to is not None:
        headers.append(("ce_rescueto", job.rescue_to.encode()))
    if job.moved_from is not None:
        headers.append(("ce_movedfrom", job.moved_from.encode()))


def _without_answer(fields: dict[str, bytes], value: bytes) -> tuple[bytes, ShadowOf]:
    """The input of a copy alone, and what stands behind it."""
    version, length = _version(fields, SHADOW_OF_HEADER), _count(fields["ce_inputlength"])
    if version is None or length > len(value):
        raise Undecodable("ce_inputlength is more than the record holds")
    return value[:length], ShadowOf(version, value[length:])


def _job_id(fields: dict[str, bytes]) -> str:
    job_id = fields["ce_id"].decode()
    if not is_job_id(job_id):
        raise Undecodable("ce_id is not a job id: letters, digits and ._:~- only, at most 128")
    return job_id


def _optional(fields: dict[str, bytes], name: str) -> str | None:
    raw = fields.get(name)
    return _text(raw) if raw is not None else None


def _metadata(fields: dict[str, bytes]) -> dict[str, Any]:
    raw = fields.get("ce_metadata")
    if raw is None:
        return {}
    try:
        return parse_metadata(raw)
    except RequestError as error:
        raise Undecodable(f"ce_metadata: {error.message}") from error


def _reply_to(fields: dict[str, bytes]) -> str | None:
    raw = fields.get("ce_replyto")
    if raw is None:
        return None
    reply_to = raw.decode()
    if not is_instance(reply_to):
        raise Undecodable("ce_replyto is no gateway's name: lower-case letters, digits and - only, at most 64")
    return reply_to


def _cohort(fields: dict[str, bytes]) -> int | None:
    cohort = _optional_count(fields, "ce_cohort")
    if cohort is not None and cohort >= COHORTS:
        raise Undecodable(f"ce_cohort must be less than {COHORTS}")
    return cohort


def _version(fields: dict[str, bytes], name: str) -> str | None:
    version = _optional(fields, name)
    if version is not None and not is_version(version):
        raise Undecodable(f"{name} is no version: lower-case letters, digits, dots and dashes only, at most 32")
    return version


def _optional_count(fields: dict[str, bytes], name: str) -> int | None:
    raw = fields.get(name)
    return None if raw is None else _count(raw)


def _text(raw: bytes) -> str:
    if b"\0" in raw:
        raise Undecodable("a header holds a NUL character, which no store can hold")
    return raw.decode()


def _count(raw: bytes) -> int:
    count = int(raw)
    if not 0 <= count < _INT32:
        raise Undecodable("a number in a header is negative, or takes more than four bytes")
    return count


def read_moment(raw: bytes) -> datetime:
    """A header's time, in UTC. Raises `Undecodable`, or `ValueError` for what is no time."""
    moment = datetime.fromisoformat(raw.decode())
    if moment.tzinfo is None:
        raise Undecodable(f"a time has no zone: {raw.decode()}")
    try:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError as error:
        raise Undecodable(f"a time lies beyond the calendar: {raw.decode()}") from error
