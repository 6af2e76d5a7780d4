"""Answers about jobs: what clients see of them as JSON, where they are found, and raw HTTP made of both."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec
from starlette.responses import Response

from gateway.notices import Notice
from gateway.problems import Headers, render_problem
from gateway.waiters import NONE, Preferences
from schemas.errors import ErrorBody, PenstockError
from schemas.jobs import Job, Status
from schemas.results import as_json
from stores.protocols import JobPage

JSON_TYPE: Final = (b"content-type", b"application/json")
_RETRY: Final = (b"retry-after", b"1")  # seconds until a client should look again
_REPLAYED: Final = (b"idempotency-replayed", b"true")


class JobUrls(msgspec.Struct, frozen=True):
    """Where a job is read, canceled, and its result and events fetched."""

    get: str
    cancel: str
    result: str
    events: str


class Links:
    """The URLs the gateway hands out. Always absolute: clients behind a proxy cannot resolve relative ones."""

    def __init__(self, public_base_url: str) -> None:
        self._jobs = f"{public_base_url}/v1/jobs/"
        self._models = f"{public_base_url}/v1/models/"
        self._rollouts = f"{public_base_url}/v1/rollouts/"
        self._holds = f"{public_base_url}/v1/holds/"

    def job(self, job_id: str) -> str:
        return self._jobs + job_id

    def job_urls(self, job_id: str) -> JobUrls:
        url = self._jobs + job_id
        return JobUrls(url, f"{url}/cancel", f"{url}/result", f"{url}/events")

    def rollout(self, rollout_id: str) -> str:
        return self._rollouts + rollout_id

    def hold(self, hold_id: str) -> str:
        return self._holds + hold_id

    def version(self, model: str, version: str) -> str:
        return f"{self._models}{model}/versions/{version}"


class HeldDocument(msgspec.Struct, frozen=True):
    """The hold that a queued job waits for: the first of several."""

    id: str
    reason: str
    since: datetime


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A job. `result` is there once it has succeeded, `error` once it has failed or was canceled.

    `keep_until` is there once it has ended, where the job or its model says how long it is kept; any other is kept for
    the time that the installation is set to. `notice` is there while something keeps a queued job waiting: its version
    is served by no worker, or an operator holds it; which hold that is, `held` says. `route_revision` is the route's
    that chose its version, if one did; `moved_from` is there once it has ended, if another version ran it than the one
    that it had until then.
    """

    id: str
    object: Literal["job"] = "job"
    status: Status
    done: bool
    model: str
    model_version: str
    variant: str | None
    route_revision: int | None
    batch_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime
    result: msgspec.Raw | None
    error: ErrorBody | None
    metadata: dict[str, Any]
    urls: JobUrls
    notice: str | msgspec.UnsetType = msgspec.UNSET
    keep_until: datetime | msgspec.UnsetType = msgspec.UNSET
    moved_from: str | msgspec.UnsetType = msgspec.UNSET
    held: HeldDocument | msgspec.UnsetType = msgspec.UNSET


class JobList(msgspec.Struct, frozen=True):
    """A page of jobs, newest first; the next begins after `next_after`, which is usually the last id of this one.

    A search that looked at as many jobs as it may answers with what it found, which may be nothing.
    """

    data: list[JobDocument]
    has_more: bool
    next_after: str | None
    object: Literal["list"] = "list"


_encoder = msgspec.json.Encoder()


def job_document(job: Job, links: Links, notice: Notice | None = None) -> JobDocument:
    held = None if notice is None else notice.held
    return JobDocument(
        id=job.id,
        status=job.status,
        done=job.done,
        model=job.model,
        model_version=job.version,
        variant=job.variant,
        route_revision=job.revision,
        batch_id=job.batch_id,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        expires_at=job.expires_at,
        result=msgspec.Raw(as_json(job.result)) if job.result is not None else None,
        error=job.error,
        metadata=job.metadata,
        urls=links.job_urls(job.id),
        notice=msgspec.UNSET if notice is None else notice.text,
        keep_until=(job.keep_until if job.done else None) or msgspec.UNSET,
        moved_from=msgspec.UNSET if job.moved_from is None else job.moved_from,
        held=msgspec.UNSET if held is None else HeldDocument(held.id, held.reason, held.created_at),
    )


def encode_job(job: Job, links: Links, notice: Notice | None = None) -> bytes:
    return _encoder.encode(job_document(job, links, notice))


def encode_jobs(page: JobPage, links: Links, notice: Callable[[Job], Notice | None]) -> bytes:
    data = [job_document(job, links, notice(job)) for job in page.jobs]
    return _encoder.encode(JobList(data, page.next_after is not None, page.next_after))


def _as_accepted(job: Job) -> Job:
    """The job as it was when it was accepted, which is what the first answer to its request showed."""
    if job.status is Status.QUEUED:
        return job
    return msgspec.structs.replace(
        job, status=Status.QUEUED, started_at=None, completed_at=None, error=None, result=None
    )


def entity_tag(document: bytes) -> str:
    """A strong entity tag (RFC 9110, section 8.8.3): the same bytes, the same tag."""
    return f'"{hashlib.blake2b(document, digest_size=12).hexdigest()}"'


def matches(entity: str, if_none_match: str) -> bool:
    """Whether `If-None-Match` names the entity; compared weakly, as that header wants."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or entity in tags


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


def accepted(job: Job, links: Links, preferences: Preferences, *, replayed: bool) -> Answer:
    """202: the job as it was accepted, and where it can be watched, in the words of every client that polls."""
    url = links.job(job.id).encode()
    headers: Headers = [JSON_TYPE, (b"location", url), (b"operation-location", url), _RETRY]
    return Answer(202, _add(headers, preferences, replayed=replayed), encode_job(_as_accepted(job), links))


def finished(job: Job, links: Links, preferences: Preferences, *, replayed: bool) -> Answer:
    """200: the job itself, which came while the client waited.

    Without Location and Operation-Location: clients of long-running operations take those for a reason to poll.
    """
    body = encode_job(job, links)
    headers: Headers = [
        JSON_TYPE,
        (b"content-location", links.job(job.id).encode()),
        (b"etag", entity_tag(body).encode()),
    ]
    return Answer(200, _add(headers, preferences, replayed=replayed), body)


def current(
    job: Job, links: Links, known: str | None = None, preferences: Preferences = NONE, *, notice: Notice | None = None
) -> Answer:
    """200 with the job as it is, or 304 where `known`, an If-None-Match, says that the client has it."""
    body = encode_job(job, links, notice)
    tag = entity_tag(body)
    headers: Headers = [(b"etag", tag.encode()), (b"cache-control", b"private, no-cache")]
    if not job.done:
        headers.append(_RETRY)
    _add(headers, preferences, replayed=False)
    if known is not None and matches(tag, known):
        return Answer(304, headers, b"")
    return Answer(200, [JSON_TYPE, *headers], body)


def _add(headers: Headers, preferences: Preferences, *, replayed: bool) -> Headers:
    if preferences is not NONE and (applied := preferences.applied) is not None:
        headers.append((b"preference-applied", applied))
    if replayed:
        headers.append(_REPLAYED)
    return headers


def respond(answer: Answer) -> Response:
    """The answer as a response; its own headers, and Content-Length where it has a body."""
    response = Response(answer.body, answer.status)
    response.raw_headers = list(answer.headers)
    if answer.status != 304:
        response.raw_headers.append((b"content-length", b"%d" % len(answer.body)))
    return response


def problem(error: PenstockError) -> Response:
    return respond(Answer(*render_problem(error)))


def json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
