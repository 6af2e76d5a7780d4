"""The body of an event. Pure; built at each attempt from the delivery and, where it is about a job, the job."""

from datetime import timedelta
from typing import Any, Final, Literal

import msgspec
import orjson

from schemas.errors import ErrorBody
from schemas.job_documents import JobDocument, JobLinks, job_document
from schemas.jobs import DEFAULT_TIMEOUT_S, Job, Payload, Status, kept_for
from schemas.results import as_json
from schemas.signing import ResultLinks
from schemas.topics import LaneClass
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
    result without a key, where the job has one and `result` is null, until the result is kept no longer. `test` is
    there where somebody asked for an event to try an endpoint: the job is made up."""

    revision: int
    result_url: str | msgspec.UnsetType = msgspec.UNSET
    test: bool | msgspec.UnsetType = msgspec.UNSET


_encoder: Final = msgspec.json.Encoder()


def needs_job(event_type: str) -> bool:
    """Whether its body is built from the job that is its subject."""
    return event_type.startswith(_JOB)


class EventBodies:
    """`retention` is how long a job is kept after its end that has no time of its own."""

    def __init__(self, jobs: JobLinks, results: ResultLinks, retention: timedelta) -> None:
        self._jobs = jobs
        self._results = results
        self._retention_s = int(retention.total_seconds())

    def body(self, delivery: Delivery, payload: PayloadKind, job: Job | None) -> bytes:
        """JSON. `job` is the delivery's subject, if there is one and it is still kept; it may come without its result
        where that is not wanted, or too large: it is then linked to."""
        if delivery.is_test and needs_job(delivery.event_type):
            job = _example(delivery)
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
        test = delivery.is_test or msgspec.UNSET
        return JobEventData(**fields, revision=delivery.revision, result_url=link, test=test)

    def _result_url(self, job: Job) -> str:
        kept_s = self._retention_s if job.retention_s is None else job.retention_s
        return self._results.url(job.tenant, job.id, kept_for(job.completed_at or job.expires_at, kept_s))


def _while_running(job: Job) -> Job:
    """As it was: it may have ended since the event, which its own event tells."""
    return msgspec.structs.replace(job, status=Status.RUNNING, completed_at=None, error=None, result=None)


def _example(delivery: Delivery) -> Job:
    """A job that there might be, for who tries an endpoint."""
    status = Status(delivery.event_type.removeprefix(_JOB))
    at = delivery.created_at
    result = Payload(b'{"model_name":"example","model_version":"1","id":"job_test","outputs":[]}')
    return Job(
        tenant=delivery.tenant,
        id="job_test",
        model="example",
        version="1",
        lane=LaneClass.LIVE,
        created_at=at,
        started_at=at,
        completed_at=None if status is Status.RUNNING else at,
        expires_at=kept_for(at, DEFAULT_TIMEOUT_S),
        status=status,
        error=ErrorBody("inference_failed", "an example of an error", "inference_error")
        if status in {Status.FAILED, Status.CANCELED}
        else None,
        result=result if status is Status.SUCCEEDED else None,
    )


def small_json(result: Payload, longest_bytes: int = FULL_RESULT_BYTES) -> bytes | None:
    """The result as JSON, or None where that is longer, or it is none; what is surely longer is not converted to find
    out."""
    least = len(result.value) if result.json_length is None else len(result.value) // _LEAST_OF_RAW
    if least > longest_bytes:
        return None
    try:
        json = as_json(result)
        if len(json) > longest_bytes:
            return None
        orjson.loads(json)  # any producer may have written it, and within an event it would be unreadable with that
    except Exception:  # whatever is wrong with it: the link will tell
        return None
    return json
