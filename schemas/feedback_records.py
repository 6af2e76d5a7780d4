"""Feedback as a record of Kafka: the same JSON as over HTTP; the job is named by `job_id` in it, else by `ce_id`."""

from datetime import datetime
from typing import Final

import msgspec

from schemas.errors import RequestError, Undecodable
from schemas.feedback import FeedbackRequest, Told, read_feedback, told_of
from schemas.jobs import is_job_id
from schemas.records import Headers, OutRecord, timestamp

FEEDBACK_TYPE: Final = "io.penstock.feedback.v1"


def feedback_record(topic: str, job_id: str, request: FeedbackRequest, at: datetime, source: str) -> OutRecord:
    """Keyed by the job, so that what is told of one stands in one partition, in order."""
    value = {name: given for name in ("reward", "label") if (given := getattr(request, name)) is not None}
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", job_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", FEEDBACK_TYPE.encode()),
        ("ce_time", timestamp(at).encode()),
        ("content-type", b"application/json"),
    ]
    return OutRecord(topic, job_id.encode(), msgspec.json.encode(value), headers)


def read_feedback_record(
    headers: tuple[tuple[str, bytes], ...], value: bytes | None, tenant: str, written_at: datetime
) -> Told:
    """What the record tells. `written_at` is Kafka's time of it, and the latest that it can have been told at.

    Raises `Undecodable`.
    """
    if value is None:
        raise Undecodable("the record has no value")
    fields = dict(headers)
    try:
        request = read_feedback(value)
        job_id = request.job_id or fields.get("ce_id", b"").decode()
        at = _time(fields.get("ce_time"), written_at)
    except RequestError as error:
        raise Undecodable(error.message) from error
    except ValueError as error:
        raise Undecodable(f"a header is malformed: {error}") from error
    if not is_job_id(job_id):
        raise Undecodable("neither job_id nor the header ce_id names a job")
    return told_of(request, tenant, job_id, at)


def _time(raw: bytes | None, latest: datetime) -> datetime:
    if raw is None:
        return latest
    moment = datetime.fromisoformat(raw.decode())
    if moment.tzinfo is None:
        raise Undecodable("ce_time has no zone")
    return min(moment, latest)
