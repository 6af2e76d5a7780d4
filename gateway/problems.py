"""Errors as RFC 9457 problem documents. What each class says stands in `schemas/errors.py`; here it becomes HTTP."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from schemas.errors import (
    AdmissionRefused,
    ErrorBody,
    JobError,
    KeyMissing,
    LaneFull,
    MethodNotAllowed,
    PenstockError,
    RequestError,
    Unavailable,
    UnsupportedMediaType,
    WebhookTestFailed,
    WebhookTestTimeout,
)

Headers = list[tuple[bytes, bytes]]

CONTENT_TYPE: Final = b"application/problem+json"
TYPE_PREFIX: Final = "urn:penstock:error:"
DEFAULT_RETRY_AFTER_S: Final = 1.0

# What the caller may know of our own troubles. Their details go to the log only.
PUBLIC_TEXT: Final = {
    "queue_unavailable": "The queue cannot take jobs at the moment. Nothing was accepted; try again.",
    "outcome_unknown": "The queue did not confirm the job in time. "
    "Try again with the same Idempotency-Key; then nothing runs twice.",
    "store_unavailable": "The job store cannot be reached at the moment. Try again with the same Idempotency-Key.",
}
# Those of our own troubles whose messages are meant for the caller.
_TOLD: Final = frozenset({Unavailable, AdmissionRefused, KeyMissing, WebhookTestFailed, WebhookTestTimeout})
INTERNAL_TEXT: Final = "Something went wrong on our side."


class Problem(msgspec.Struct, frozen=True):
    """A problem document: RFC 9457's members and ours, `error`."""

    type: str
    title: str
    status: int
    detail: str
    error: ErrorBody


_encoder = msgspec.json.Encoder()


class Refusal(NamedTuple):
    """What a caller is told of an error, in whichever form: `headers` say nothing of the body."""

    status: int
    headers: Headers
    error: ErrorBody
    title: str


def refusal_of(error: PenstockError) -> Refusal:
    """For an error that a request met."""
    body = error.body()
    if error.status >= 500 and not isinstance(error, JobError) and type(error) not in _TOLD:
        body = msgspec.structs.replace(body, message=_public_text(type(error)))
    return Refusal(error.status, _headers_of(error), body, error.title)


def refusal_of_job(error: ErrorBody) -> Refusal:
    """For the error a job ended with; codes that a worker made up are internal errors here."""
    cls = _BY_CODE.get(error.code, JobError)
    return Refusal(cls.status, [], error, cls.title)


def render_problem(error: PenstockError) -> tuple[int, Headers, bytes]:
    """Status, headers and body for an error that a request met."""
    return _rendered(refusal_of(error))


def render_job_error(error: ErrorBody) -> tuple[int, Headers, bytes]:
    """The same for the error a job ended with."""
    return _rendered(refusal_of_job(error))


def _rendered(refusal: Refusal) -> tuple[int, Headers, bytes]:
    status, headers, error, title = refusal
    return status, [(b"content-type", CONTENT_TYPE), *headers], encode_problem(error, status, title)


def encode_problem(error: ErrorBody, status: int, title: str) -> bytes:
    return _encoder.encode(Problem(TYPE_PREFIX + error.code, title, status, error.message, error))


def retry_after(seconds: float | None) -> bytes:
    """The value of `Retry-After`: whole seconds, at least one."""
    return b"%d" % max(1, math.ceil(DEFAULT_RETRY_AFTER_S if seconds is None else seconds))


def _public_text(cls: type[PenstockError]) -> str:
    """What may be told of a class whose messages are for the log: its own text, else that of the class it refines."""
    codes = (vars(kind).get("code", "") for kind in cls.mro())
    return next((PUBLIC_TEXT[code] for code in codes if code in PUBLIC_TEXT), INTERNAL_TEXT)


def _headers_of(error: PenstockError) -> Headers:
    headers: Headers = []
    if error.retryable:
        headers.append((b"retry-after", retry_after(error.retry_after_s)))
    if isinstance(error, LaneFull) and error.limit_records is not None:
        seconds = retry_after(error.retry_after_s)
        headers.append((b"ratelimit-policy", b'"lane";q=%d' % error.limit_records))
        headers.append((b"ratelimit", b'"lane";r=0;t=' + seconds))
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("latin-1")))
    elif isinstance(error, UnsupportedMediaType) and error.param == "Content-Encoding":
        headers.append((b"accept-encoding", b"gzip, deflate"))  # RFC 9110, section 15.5.16
    elif isinstance(error, WebhookTestFailed):
        headers.append((b"x-should-retry", b"false"))  # the OpenAI SDK would have another event sent
    return headers


def _classes(root: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for cls in root.__subclasses__():
        yield cls
        yield from _classes(cls)


_BY_CODE: Final = {
    cls.code: cls for root in (RequestError, JobError) for cls in (root, *_classes(root)) if "code" in vars(cls)
}
