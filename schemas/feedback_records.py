"""Feedback as a record of Kafka: the same JSON as over HTTP; the job is named by `job_id` in it, else by `ce_id`."""

from datetime import datetime

from schemas.errors import RequestError, Undecodable
from schemas.feedback import Told, read_feedback, told_of
from schemas.jobs import is_job_id
from schemas.records import read_moment


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
        at = min(read_moment(fields["ce_time"]), written_at) if "ce_time" in fields else written_at
    except RequestError as error:
        raise Undecodable(error.message) from error
    except ValueError as error:
        raise Undecodable(f"a header is malformed: {error}") from error
    if not is_job_id(job_id):
        raise Undecodable("neither job_id nor the header ce_id names a job")
    return told_of(request, tenant, job_id, at)
