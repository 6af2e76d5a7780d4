"""Writing down what became of attempts: those that ended meanwhile together, in one statement."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.postgres.calls import Grouping
from stores.webhooks import Change, DeliveryQueue, Outcome, Verdict
from workers.notifier import metrics

log = get_logger(__name__)

LARGEST_GROUP: Final = 500


class Recorder:
    """Outcomes, in groups. Use as `async with`."""

    def __init__(self, queue: DeliveryQueue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._groups: Grouping[Outcome, None] = Grouping(self._record_group, lanes=1, largest=LARGEST_GROUP)

    async def __aenter__(self) -> Self:
        await self._groups.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._groups.__aexit__(kind, error, traceback)

    async def record(self, outcome: Outcome) -> None:
        """However long the store is away, as long as the claim's lease stands: after that it would not be heard."""
        for delay_s in delays_s():
            try:
                await self._groups.ask(outcome)
            except StoreUnavailable as error:
                if self._clock() + timedelta(seconds=delay_s) >= outcome.claim.leased_until:
                    metrics.UNRECORDED.inc()
                    log.warning("an attempt could not be written down: it is made again", reason=error.message)
                    return
                await asyncio.sleep(delay_s)
            else:
                _count(outcome)
                return

    async def _record_group(self, outcomes: Sequence[Outcome]) -> Sequence[None]:
        for change in await self._queue.record(outcomes, self._clock()):
            _tell(change)
        return [None] * len(outcomes)


def _count(outcome: Outcome) -> None:
    delivery, attempt = outcome.claim.delivery, outcome.attempt
    metrics.ATTEMPTS.labels(outcome.verdict).inc()
    metrics.ATTEMPT_SECONDS.labels(outcome.verdict).observe(attempt.latency_ms / 1000)
    if outcome.verdict is Verdict.DELIVERED and not delivery.tried:
        metrics.DELAY_SECONDS.observe(max(0.0, (attempt.at - delivery.created_at).total_seconds()))


def _tell(change: Change) -> None:
    metrics.CHANGES.labels(change.event_type).inc()
    log.warning(change.event_type, tenant=change.tenant, target=change.target, reason=change.reason)
