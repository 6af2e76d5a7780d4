"""Answers about jobs: what clients see of them as JSON, where they are found, and raw HTTP made of both."""

import hashlib
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec
from starlette.responses import Response

from gateway.idempotency import REPLAYED
from gateway.problems import Headers, render_problem
from gateway.waiters import NONE, Preferences
from schemas.errors import PenstockError
from schemas.job_documents import JobDocument, JobLinks, Notice, job_document
from schemas.jobs import Job, Status
from stores.protocols import JobPage

JSON_TYPE: Final = (b"content-type", b"application/json")
_RETRY: Final = (b"retry-after", b"1")  # seconds until a client should look again
_REPLAYED: Final = (REPLAYED, b"true")


class Links(JobLinks):
    """The URLs the gateway hands out."""

    def __init__(self, public_base_url: str) -> None:
        super().__init__(public_base_url)
        self._models = f"{public_base_url}/v1/models/"
        self._rollouts = f"{public_base_url}/v1/rollouts/"
        self._holds = f"{public_base_url}/v1/holds/"

    def rollout(self, rollout_id: str) -> str:
        return self._rollouts + rollout_id

    def hold(self, hold_id: str) -> str:
        return self._holds + hold_id

    def version(self, model: str, version: str) -> str:
        return f"{self._models}{model}/versions/{version}"


class JobList(msgspec.Struct, frozen=True):
    """A page of jobs, newest first; the next begins after `next_after`, which is usually the last id of this one.

    A search that looked at as many jobs as it may answers with what it found, which may be nothing.
    """

    data: list[JobDocument]
    has_more: bool
    next_after: str | None
    object: Literal["list"] = "list"


_encoder = msgspec.json.Encoder()


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
