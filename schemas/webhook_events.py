"""The body of an event. Pure; built at each attempt from the delivery and, where it is about a job, the job."""

from datetime import timedelta
from typing import Any, Final, Literal

import msgspec

from schemas.errors import PenstockError
from schemas.job_documents import JobDocument, JobLinks, job_document
from schemas.jobs import Job, Payload, Status
from schemas.results import as_json
from schemas.signing import ResultLinks
from schemas.webhooks import FULL_RESULT_BYTES, Delivery, EventType, PayloadKind

# No value of a tensor takes less of JSON than a quarter of its raw bytes: eight of INT64 are at least "0,".
_LEAST_OF_RAW: Final = 4

_JOB: Final = "job."


class EventDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. `id` is the delivery's, hence the same on every attempt, as is the time, in two forms: `created_at`
    in Unix seconds, `timestamp` by RFC 3339."""

    id: str
    object: Literal["event"] = "event"
    type: str
    created_at: int
    timestamp: str
    data: Any


class JobEventData(JobDocument, frozen=True, kw_only=True):
    """The job as `GET /v1/jobs/{id}` gives it. `revision` grows from event to event of one job. `result_url` gives the
    result without a key, where the job has one and `result` is null, until the result is kept no longer."""

    revision: int
    result_url: str | msgspec.UnsetType = msgspec.UNSET


_encoder: Final = msgspec.json.Encoder()


def needs_job(event_type: str) -> bool:
    """Whether its body is built from the job that is its subject."""
    return event_type.startswith(_JOB)


class EventBodies:
    """`retention` is how long a job is kept after its end that has no time of its own."""

    def __init__(self, jobs: JobLinks, results: ResultLinks, retention: timedelta) -> None:
        self._jobs = jobs
        self._results = results
        self._retention = retention

    def body(self, delivery: Delivery, payload: PayloadKind, job: Job | None) -> bytes:
        """JSON. `job` is the delivery's subject, if there is one and it is still kept; it may come without its result
        where that is not wanted, or too large: it is then linked to."""
        data = self._subject(delivery) if job is None else self._job(delivery, payload, job)
        at = delivery.created_at
        return _encoder.encode(
            EventDocument(
                id=delivery.id,
                type=delivery.event_type,
                created_at=int(at.timestamp()),
                timestamp=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                data=data,
            )
        )

    def _subject(self, delivery: Delivery) -> dict[str, Any]:
        kind = delivery.event_type.partition(".")[0]
        return {"id": delivery.subject, "object": kind, "revision": delivery.revision} | delivery.facts

    def _job(self, delivery: Delivery, payload: PayloadKind, job: Job) -> JobEventData:
        if delivery.event_type == EventType.JOB_RUNNING:
            job = _while_running(job)
        result = None if payload is PayloadKind.THIN or job.result is None else small_json(job.result)
        document = job_document(msgspec.structs.replace(job, result=None), self._jobs)
        fields = msgspec.structs.asdict(document) | {"result": None if result is None else msgspec.Raw(result)}
        linked = job.status is Status.SUCCEEDED and result is None
        link = self._result_url(job) if linked else msgspec.UNSET
        return JobEventData(**fields, revision=delivery.revision, result_url=link)

    def _result_url(self, job: Job) -> str:
        until = job.keep_until or (job.completed_at or job.expires_at) + self._retention
        return self._results.url(job.tenant, job.id, until)


def _while_running(job: Job) -> Job:
    """As it was: it may have ended since the event, which its own event tells."""
    return msgspec.structs.replace(job, status=Status.RUNNING, completed_at=None, error=None, result=None)


def small_json(result: Payload, longest_bytes: int = FULL_RESULT_BYTES) -> bytes | None:
    """The result as JSON, or None where that is longer; what is surely longer is not converted to find out."""
    least = len(result.value) if result.json_length is None else len(result.value) // _LEAST_OF_RAW
    if least > longest_bytes:
        return None
    try:
        json = as_json(result)
    except (PenstockError, msgspec.MsgspecError, ValueError, KeyError):  # not as it should be: the link will tell
        return None
    return json if len(json) <= longest_bytes else None
