"""The submit routes, as plain ASGI: the one road where every microsecond counts."""

import asyncio
import io
import re
import time
from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from gateway.answers import Answer, accepted, finished
from gateway.client_gone import CLIENT_GONE, ClientGone
from gateway.idempotency import HEADER as IDEMPOTENCY_KEY
from gateway.idempotency import idempotency_key, key_values
from gateway.large_inputs import most_body_bytes
from gateway.log_throttle import log_server_error
from gateway.metrics import request_seconds_of, requests_of, submits_of
from gateway.problems import render_problem
from gateway.services import Services
from gateway.submission import Submission
from gateway.submit_request import ENVELOPE_ROUTE, MODEL_ROUTE, VERSION_ROUTE, Target, read_submit
from gateway.unpacking import check_encoding, too_large, unpack
from gateway.waiters import NONE, Watch
from runtime.budget import Holding
from runtime.logs import get_logger
from schemas.errors import OutcomeUnknown, PenstockError, RequestError, Unavailable
from schemas.jobs import Job, new_job_id
from stores.protocols import Admission, IdempotencyKey, JobKey

log = get_logger(__name__)

BUSY_RETRY_AFTER_S: Final = 1.0
_ENVELOPE: Final = Target(ENVELOPE_ROUTE)
_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def submit_target(path: str) -> Target | None:
    """The submit route that a path means, if it means one."""
    if path == ENVELOPE_ROUTE:
        return _ENVELOPE
    if not (path.startswith("/v1/models/") and path.endswith("/jobs")):
        return None
    parts = path.split("/")
    if len(parts) == 5 and parts[3]:
        return Target(MODEL_ROUTE, parts[3])
    if len(parts) == 7 and parts[3] and parts[4] == "versions" and parts[5]:
        return Target(VERSION_ROUTE, parts[3], parts[5])
    return None


class SubmitEndpoint:
    """`POST` of a job, in its three forms: from a request to its `Submission`, and from the admission to an answer.

    At most `gateway_max_in_flight` of them are being read or admitted at a time.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.in_flight = 0

    async def __call__(
        self, target: Target, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        began_s = time.perf_counter()
        submission = Submission(JobKey(scope["tenant"], new_job_id()), headers)
        try:
            answer, outcome = await self._answer(submission, target, scope, receive)
        except PenstockError as error:
            log_server_error(error)
            answer, outcome = Answer(*render_problem(error)), error.code
        except ClientGone:
            self._count(target, CLIENT_GONE, began_s)
            return
        except asyncio.CancelledError:  # at a stop the server has waited for as long as it may
            answer, outcome = Answer(*render_problem(stopped())), OutcomeUnknown.code
        except Exception as error:
            log.error("a submit failed", path=scope["path"], exc_info=error)
            answer, outcome = Answer(*render_problem(PenstockError("internal"))), PenstockError.code
        answer.headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})
        submits_of(submission.lane, outcome).inc()
        self._count(target, answer.status, began_s)

    def _count(self, target: Target, code: int, began_s: float) -> None:
        requests_of(target.route, "POST", code).inc()
        request_seconds_of(target.route, "POST").observe(time.perf_counter() - began_s)

    async def _answer(
        self, submission: Submission, target: Target, scope: Scope, receive: Receive
    ) -> tuple[Answer, str]:
        """The answer, and what the metrics call it."""
        links, waiters = self._services.links, self._services.waiters
        preferences = waiters.granted(scope["headers"]) if b"prefer" in submission.headers else NONE
        job = None
        if not preferences.wait_s:
            admission = await self._admit(submission, target, scope, receive)
        else:
            # The watch stands before the job is sent: a quick one may be done before its acknowledgement is back.
            submission.reply_to = waiters.instance
            with waiters.watch(submission.key) as watch:
                admission = await self._admit(submission, target, scope, receive)
                job = await self._wait(submission, admission, watch, preferences.wait_s, receive)
        replayed = admission.replayed
        if job is not None:
            answer = finished(job, links, preferences, replayed=replayed)
        else:
            answer = accepted(admission.job, links, preferences, replayed=replayed)
        return answer, "replayed" if replayed else "accepted"

    async def _admit(self, submission: Submission, target: Target, scope: Scope, receive: Receive) -> Admission:
        services, headers = self._services, submission.headers
        limit_bytes = most_body_bytes(services.settings, headers)
        check_announced(headers, limit_bytes)
        first = await receive()  # a client that sends no body at all takes no place
        if self.in_flight >= services.settings.gateway_max_in_flight:
            raise Unavailable("The gateway is busy with as many jobs as it can take.", retry_after_s=BUSY_RETRY_AFTER_S)
        self.in_flight += 1
        try:
            with services.budget.hold("bodies") as submission.held:
                body = await read_body(headers, first, receive, limit_bytes, submission.held)
                submission.submit = read_submit(target, headers, scope["query_string"], body)
                if IDEMPOTENCY_KEY in headers:
                    submission.idempotency = _idempotency(scope, headers, body)
                if b"traceparent" in headers:
                    submission.traceparent = _traceparent(headers[b"traceparent"])
                admission = await services.submissions.submit(submission)
                del submission.submit  # it is counted no longer, and the wait may be long
                return admission
        finally:
            self.in_flight -= 1

    async def _wait(
        self, submission: Submission, admission: Admission, watch: Watch, wait_s: float, receive: Receive
    ) -> Job | None:
        """The finished job, if it comes in time."""
        job, waiters = admission.job, self._services.waiters
        write = None if submission.written else self._services.submissions.write_down
        if job.id == submission.key.id:
            return await waiters.finished(job, watch, wait_s, receive, write)
        with waiters.watch(JobKey(job.tenant, job.id)) as other:  # it may have been done for long
            other.wake()
            return await waiters.finished(job, other, wait_s, receive, write)


def check_announced(headers: Mapping[bytes, bytes], limit_bytes: int) -> None:
    """Raises what can be refused before a byte of the body is read.

    `PayloadTooLarge` for a length beyond the limit, `UnsupportedMediaType` for an encoding that is neither gzip nor
    deflate, `RequestError` for a length that is none.
    """
    if b"content-encoding" in headers:
        check_encoding(headers[b"content-encoding"])
    length = headers.get(b"content-length")
    if length is None:
        return
    if not length.isdigit():
        raise RequestError("Content-Length is not a number", param="Content-Length")
    if len(length) > 18 or int(length) > limit_bytes:
        raise too_large(limit_bytes)


async def read_body(
    headers: Mapping[bytes, bytes], first: Message, receive: Receive, limit_bytes: int, held: Holding
) -> bytes:
    """The decompressed body, of which the server has given the `first` message. What is read is counted by `held`.

    Raises `PayloadTooLarge` before more than `limit_bytes` are held, counted while reading and while unpacking;
    `Unavailable` where the process has no room; `RequestError` for a body that does not unpack; `ClientGone`. How
    long the body may take is the server's business.
    """
    body = _chunk(first)
    held.grow(len(body))
    if first.get("more_body"):
        body = await _read_on(body, receive, limit_bytes, held)
    if len(body) > limit_bytes:
        raise too_large(limit_bytes)
    encoding = headers.get(b"content-encoding")
    return body if encoding is None else await unpack(body, encoding, limit_bytes, held)


async def _read_on(first: bytes, receive: Receive, limit_bytes: int, held: Holding) -> bytes:
    body = io.BytesIO()  # gives what was written without another copy of it
    body.write(first)
    more = True
    while more:
        if body.tell() > limit_bytes:
            raise too_large(limit_bytes)
        message = await receive()
        chunk = _chunk(message)
        held.grow(len(chunk))
        body.write(chunk)
        more = message.get("more_body", False)
    return body.getvalue()


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    chunk: bytes = message.get("body", b"")
    return chunk


def stopped() -> OutcomeUnknown:
    """What a request is told that a stop cuts short."""
    return OutcomeUnknown("the gateway stopped before the request was done", retry_after_s=1)


def _idempotency(scope: Scope, headers: Mapping[bytes, bytes], body: bytes) -> IdempotencyKey:
    values = key_values(scope)
    return idempotency_key(
        values,
        scope["path"].encode(),
        scope["query_string"],
        headers.get(b"content-type", b""),
        headers.get(b"inference-header-content-length", b""),
        body,
    )


def _traceparent(value: bytes) -> str | None:
    return value.decode() if _TRACEPARENT.fullmatch(value) else None
