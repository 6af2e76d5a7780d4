"""How far one attempt is, as the connection pool tells it, and hence what is to blame for its end."""

import asyncio
import math
import ssl
from enum import IntEnum
from typing import Any, Final

import httpcore2

from schemas.webhooks import Limits
from stores.webhooks import Verdict
from workers.notifier.sending.dialing import MOST_ANSWER_BYTES, MOST_ANSWER_LINES, AnswerTooLong
from workers.notifier.sending.refusals import NotSent

# What a proxy answers that tried, and could not connect; or will not, by its own rules: the endpoint's, not ours.
_PROXY_BLAMES_ENDPOINT: Final = frozenset({403, 502, 504})


class Stage(IntEnum):
    REACHING = 0  # the host, or the proxy
    SECURING = 1  # TLS with the host
    ANSWERING = 2


class Egress:
    """What is known of our proxy: when it last answered for any host, by the loop's clock."""

    def __init__(self) -> None:
        self.answered_at = -math.inf


class Progress:
    """Of an attempt that began at `began`, by the loop's clock; `limit` is what ends it: first until it is connected,
    then for all of it. `egress` is there where it goes through our proxy."""

    def __init__(self, limits: Limits, egress: Egress | None = None) -> None:
        self.stage = Stage.REACHING
        self._limits = limits
        self._egress = egress
        self._asked_at = math.inf  # the proxy
        began = asyncio.get_running_loop().time()
        self._ends_at = began + limits.timeout_s
        self.limit = asyncio.timeout_at(began + min(limits.connect_timeout_s, limits.timeout_s))

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """What the pool calls at each step."""
        if event == ("connection.start_tls.started" if self._egress is None else "proxy.start_tls.started"):
            self.stage = Stage.SECURING
        elif event == "http11.send_request_headers.started":
            if info["request"].method == b"POST":
                self.stage = Stage.ANSWERING
                self.limit.reschedule(self._ends_at)
            else:
                self._asked_at = asyncio.get_running_loop().time()
        elif event == "http11.receive_response_headers.complete" and self._egress and self.stage is Stage.REACHING:
            self._egress.answered_at = asyncio.get_running_loop().time()

    def end_within(self, seconds: float) -> None:
        self.limit.reschedule(min(self._ends_at, asyncio.get_running_loop().time() + seconds))

    def blame(self, error: Exception) -> NotSent:
        """Why there was no answer. Raises what is none of the errors that are expected."""
        if isinstance(error, NotSent):
            found = error
        elif isinstance(error, TimeoutError | httpcore2.TimeoutException):
            found = NotSent(Verdict.FAILED, self._too_late())
        elif isinstance(error, httpcore2.ProxyError):
            return _by_proxy(error)
        elif isinstance(error, AnswerTooLong):
            most = f"{MOST_ANSWER_BYTES} bytes or {MOST_ANSWER_LINES} lines"
            found = NotSent(Verdict.FAILED, f"the head of its answer is longer than {most}")
        elif isinstance(error, httpcore2.ConnectError) and self.stage is Stage.SECURING:
            found = NotSent(Verdict.FAILED, _tls_text(error))
        elif isinstance(error, httpcore2.NetworkError | OSError):
            found = NotSent(Verdict.FAILED, "the connection broke before there was an answer")
        elif isinstance(error, httpcore2.RemoteProtocolError):
            found = NotSent(Verdict.FAILED, _answer_text(error))
        else:
            raise error
        if self._egress is None or self.stage is not Stage.REACHING:
            return found
        if isinstance(error, TimeoutError) and self._egress.answered_at > self._asked_at:  # for others
            return NotSent(Verdict.FAILED, "our egress proxy did not connect to it in time")
        return NotSent(Verdict.OURS, "our egress proxy could not be reached, or did not answer")

    def _too_late(self) -> str:
        if self.stage is Stage.ANSWERING:
            return f"it did not answer within {self._limits.timeout_s:g} s"
        within_s = min(self._limits.connect_timeout_s, self._limits.timeout_s)
        return f"there was no connection to it within {within_s:g} s"


def _by_proxy(error: httpcore2.ProxyError) -> NotSent:
    status = str(error).partition(" ")[0]
    if status.isdecimal() and int(status) in _PROXY_BLAMES_ENDPOINT:
        return NotSent(Verdict.FAILED, f"our egress proxy could not connect to it, and answered {status}")
    return NotSent(Verdict.OURS, "our egress proxy refused to connect")


def _tls_text(error: httpcore2.ConnectError) -> str:
    cause = error.args[0] if error.args else None  # the pool takes the cause away, and leaves what it was made of
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    return "TLS could not be agreed on with it"


def _answer_text(error: httpcore2.RemoteProtocolError) -> str:
    if "disconnected" in str(error):
        return "it closed the connection without an answer"
    return "it answered something that is not HTTP/1.1"
