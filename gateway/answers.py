"""Answers about one job as raw HTTP: status, headers and body."""

from typing import Final, NamedTuple

from gateway.documents import encode_job, entity_tag, matches
from gateway.links import Links
from gateway.preferences import NONE, Preferences
from gateway.problems import Headers
from schemas.jobs import Job

JSON_TYPE: Final = (b"content-type", b"application/json")
_RETRY: Final = (b"retry-after", b"1")  # seconds until a client should look again
_REPLAYED: Final = (b"idempotency-replayed", b"true")


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


def accepted(job: Job, links: Links, preferences: Preferences, *, replayed: bool) -> Answer:
    """202: where the job can be watched, in the words of every client that polls."""
    url = links.job(job.id).encode()
    headers: Headers = [JSON_TYPE, (b"location", url), (b"operation-location", url), _RETRY]
    return Answer(202, _add(headers, preferences, replayed=replayed), encode_job(job, links))


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


def current(job: Job, links: Links, known: str | None = None, preferences: Preferences = NONE) -> Answer:
    """200 with the job as it is, or 304 where `known`, an If-None-Match, says that the client has it."""
    body = encode_job(job, links)
    tag = entity_tag(body)
    headers: Headers = [(b"etag", tag.encode()), (b"cache-control", b"private, no-cache")]
    if not job.done:
        headers.append(_RETRY)
    _add(headers, preferences, replayed=False)
    if known is not None and matches(tag, known):
        return Answer(304, headers, b"")
    return Answer(200, [JSON_TYPE, *headers], body)


def _add(headers: Headers, preferences: Preferences, *, replayed: bool) -> Headers:
    applied = preferences.applied
    if applied is not None:
        headers.append((b"preference-applied", applied))
    if replayed:
        headers.append(_REPLAYED)
    return headers
