"""One attempt: whatever happens in it becomes an outcome, and it takes no longer than it may."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, NamedTuple

from runtime.budget import MemoryBudget
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import PenstockError
from schemas.signing import signed_headers
from schemas.webhooks import Attempt, Limits
from stores.webhooks import Claim, Outcome, Verdict
from workers.notifier import metrics
from workers.notifier.requests import Request
from workers.notifier.sending.protocols import Reply, Sender

log = get_logger(__name__)

# What an attempt holds at most: its job with a small result, the body made of that, the answer.
ATTEMPT_BYTES: Final = 256 * 1024
# Beside the time that the endpoint has: to make the request, and to write down what came of it while the lease stands.
MAKING_S: Final = 5.0
RECORDING_S: Final = 5.0
# The same error of ours may meet each attempt: it is told with all that is known of it once a minute.
TOLD_EVERY_S: Final = 60.0


class _Timed(NamedTuple):
    """A reply, when its request began, and how long it took. Where there was no request: since the attempt began."""

    reply: Reply
    at: datetime
    seconds: float


class Attempts:
    """Makes attempts: `request` gives what is sent for a claim."""

    def __init__(
        self,
        request: Callable[[Claim], Awaitable[Request]],
        sender: Sender,
        budget: MemoryBudget,
        clock: Clock,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._sender = sender
        self._budget = budget
        self._clock = clock
        self._clock_s = clock_s
        self._running: set[asyncio.Timeout] = set()
        self._ending = False
        self._tell_at_s: dict[str, float] = {}

    async def make(self, claim: Claim) -> Outcome:
        """Raises nothing."""
        reply, at, seconds = await self._bounded(claim)
        attempt = Attempt(
            delivery=claim.delivery.id,
            number=claim.delivery.tried + 1,
            at=at,
            latency_ms=round(seconds * 1000),
            status=reply.status,
            error=reply.error,
            head=reply.head,
            probe=claim.probe,
        )
        return Outcome(claim=claim, verdict=reply.verdict, attempt=attempt, retry_after_s=reply.retry_after_s)

    def cut_short(self) -> None:
        """End all that run, and those that begin later, as if their time were over."""
        self._ending = True
        for limit in self._running:
            if not limit.expired():  # and yet still ending what it was at
                limit.reschedule(asyncio.get_running_loop().time())

    async def _bounded(self, claim: Claim) -> _Timed:
        at, began_s = self._clock(), self._clock_s()
        try:
            async with asyncio.timeout(0 if self._ending else _longest_s(claim, at)) as limit:
                self._running.add(limit)
                try:
                    return await self._send(claim)
                finally:
                    self._running.discard(limit)
        except TimeoutError:
            why = "was cut short, since the notifier stops" if self._ending else "did not end in the time that it has"
            reply = _ours(f"the attempt {why}")
        except PenstockError as error:
            reply = _ours(error.message)
        except Exception as error:  # of one delivery: it must not end the others
            self._tell(error)
            reply = _ours("an error of ours ended the attempt")
        return _Timed(reply, at, self._clock_s() - began_s)

    async def _send(self, claim: Claim) -> _Timed:
        request = await self._request(claim)
        with self._budget.hold("deliveries") as holding:
            holding.count(len(request.body))
            at, began_s = self._clock(), self._clock_s()
            headers = signed_headers(claim.delivery.id, at, request.body, request.secrets)
            reply = await self._sender.send(request.url, headers, request.body, _limits_of(claim))
            return _Timed(reply, at, self._clock_s() - began_s)

    def _tell(self, error: Exception) -> None:
        metrics.ERRORS.inc()
        kind, now_s = type(error).__qualname__, self._clock_s()
        if now_s >= self._tell_at_s.get(kind, now_s):
            self._tell_at_s[kind] = now_s + TOLD_EVERY_S
            log.error("an attempt failed by an error of ours; the next of its kind is told in a minute", exc_info=error)


def _ours(error: str) -> Reply:
    return Reply(verdict=Verdict.OURS, error=error)


def _limits_of(claim: Claim) -> Limits:
    return Limits() if claim.endpoint is None else claim.endpoint.limits


def _longest_s(claim: Claim, now: datetime) -> float:
    lease_s = (claim.leased_until - now).total_seconds()
    return max(0.0, min(MAKING_S + _limits_of(claim).timeout_s, lease_s - RECORDING_S))
