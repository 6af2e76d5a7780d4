"""One attempt: whatever happens in it becomes an outcome, and it takes no longer than it may."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import PenstockError
from schemas.webhooks import Attempt, Limits
from stores.webhooks import Claim, Outcome, Verdict
from workers.notifier import metrics

log = get_logger(__name__)

# What an attempt holds at most: its job with a small result, the body made of that, the answer.
ATTEMPT_BYTES: Final = 256 * 1024
# Beside the time that the endpoint has: to read the job, and to write down what came of it while the lease stands.
READING_S: Final = 5.0
RECORDING_S: Final = 5.0
# The same error of ours may meet each attempt: it is told with all that is known of it once a minute.
TOLD_EVERY_S: Final = 60.0


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a request came to. `began_at` and `latency_ms` are the request's own; where none was made, they are None."""

    verdict: Verdict
    status: int | None = None
    error: str | None = None
    head: str | None = None
    retry_after_s: float | None = None


Send = Callable[[Claim], Awaitable[Said]]


class Attempts:
    """Makes attempts by `send`."""

    def __init__(self, send: Send, clock: Clock, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._clock_s = clock_s
        self._limits: set[asyncio.Timeout] = set()
        self._told_s: dict[str, float] = {}
        self._ending = False

    async def make(self, claim: Claim) -> Outcome:
        """Raises nothing."""
        began_at, began_s = self._clock(), self._clock_s()
        said = await self._bounded(claim, began_at)
        attempt = Attempt(
            delivery=claim.delivery.id,
            number=claim.delivery.tried + 1,
            at=began_at,
            latency_ms=round((self._clock_s() - began_s) * 1000),
            status=said.status,
            error=said.error,
            head=said.head,
            probe=claim.probe,
        )
        return Outcome(claim=claim, verdict=said.verdict, attempt=attempt, retry_after_s=said.retry_after_s)

    def cut_short(self) -> None:
        """End all that run, and those that begin later, as if their time were over."""
        self._ending = True
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())

    async def _bounded(self, claim: Claim, now: datetime) -> Said:
        try:
            async with asyncio.timeout(0 if self._ending else _longest_s(claim, now)) as limit:
                self._limits.add(limit)
                try:
                    return await self._send(claim)
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            why = "cut short, since the notifier stops" if self._ending else "not over in the time that it has"
            return Said(verdict=Verdict.OURS, error=f"the attempt was {why}")
        except PenstockError as error:
            return Said(verdict=Verdict.OURS, error=error.message)
        except Exception as error:  # of one delivery: it must not end the others
            self._tell(error)
            return Said(verdict=Verdict.OURS, error="an error of ours ended the attempt")

    def _tell(self, error: Exception) -> None:
        metrics.ERRORS.inc()
        kind, now_s = type(error).__qualname__, self._clock_s()
        if now_s >= self._told_s.get(kind, now_s):
            self._told_s[kind] = now_s + TOLD_EVERY_S
            log.error("an attempt failed by an error of ours; more of the kind are told in a minute", exc_info=error)


def _longest_s(claim: Claim, now: datetime) -> float:
    limits = Limits() if claim.endpoint is None else claim.endpoint.limits
    lease_s = (claim.leased_until - now).total_seconds()
    return max(0.0, min(READING_S + limits.timeout_s, lease_s - RECORDING_S))
