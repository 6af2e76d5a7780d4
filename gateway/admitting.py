"""From the first byte of a submit's body to its admission, whichever form it has."""

import io
import re
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Message, Receive, Scope

from gateway.client_gone import ClientGone
from gateway.idempotency import HEADER as IDEMPOTENCY_KEY
from gateway.idempotency import idempotency_key, key_values
from gateway.large_inputs import most_body_bytes
from gateway.settings import GatewaySettings
from gateway.submission import Submission
from gateway.submissions import Submissions
from gateway.submit_request import Submit
from gateway.unpacking import check_encoding, too_large, unpack
from runtime.budget import Holding, MemoryBudget
from schemas.errors import RequestError, Unavailable
from stores.protocols import Admission, IdempotencyKey

BUSY_RETRY_AFTER_S: Final = 1.0
_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Admitting:
    """At most `gateway_max_in_flight` submits are being read or admitted at a time."""

    def __init__(self, settings: GatewaySettings, budget: MemoryBudget, submissions: Submissions) -> None:
        self._settings = settings
        self._budget = budget
        self._submissions = submissions
        self.in_flight = 0

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The body of a request that wants no job. Raises as `read_body` does."""
        limit_bytes = self._settings.gateway_max_body_bytes
        check_announced(headers, limit_bytes)
        with self._budget.hold("bodies") as held:
            return await read_body(headers, await receive(), receive, limit_bytes, held)

    async def admit(
        self, submission: Submission, read: Callable[[bytes], Submit], scope: Scope, receive: Receive
    ) -> Admission:
        """Read the body, have `read` say what it asks for, and submit that. Raises what each of them does."""
        headers = submission.headers
        limit_bytes = most_body_bytes(self._settings, headers)
        check_announced(headers, limit_bytes)
        first = await receive()  # a client that sends no body at all takes no place
        if self.in_flight >= self._settings.gateway_max_in_flight:
            raise Unavailable("The gateway is busy with as many jobs as it can take.", retry_after_s=BUSY_RETRY_AFTER_S)
        self.in_flight += 1
        try:
            with self._budget.hold("bodies") as submission.held:
                body = await read_body(headers, first, receive, limit_bytes, submission.held)
                submission.submit = read(body)
                if IDEMPOTENCY_KEY in headers:
                    submission.idempotency = _idempotency(scope, headers, body)
                if b"traceparent" in headers:
                    submission.traceparent = _traceparent(headers[b"traceparent"])
                admission = await self._submissions.submit(submission)
                del submission.submit  # it is counted no longer, and the wait may be long
                return admission
        finally:
            self.in_flight -= 1


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
