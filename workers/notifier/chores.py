"""What a notifier does on the side, as well as it can."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final, Protocol

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from schemas.webhooks import Circuit
from stores.sealing import KeyRing
from stores.webhooks import DeliveryQueue, Waiting
from workers.notifier import metrics

log = get_logger(__name__)

COUNT_EVERY_S: Final = 15.0
COMPARE_EVERY_S: Final = 30.0
RESEAL_EVERY_S: Final = 60.0
PURGE_EVERY_S: Final = 60.0
# In one step, some tens of milliseconds, and how long it rests after one that found as much: several times as fast as
# deliveries come.
PURGED_AT_ONCE: Final = 2000
REST_S: Final = 0.25

NOTHING_WAITS: Final = Waiting(0, None)


class Seals(Protocol):
    async def sealed_by(self) -> Mapping[str, int]:
        """How many secrets each key has sealed, by its id."""


class Resealing(Protocol):
    async def reseal(self, ring: KeyRing, now: datetime) -> int:
        """Have all secrets sealed by the newest key, and say how many rows were written."""


async def hear(queue: DeliveryQueue, wake: Callable[[], None]) -> None:
    """Wake the loop, for ever, whenever deliveries may have come."""
    async for _ in queue.news():
        wake()


async def count(queue: DeliveryQueue, clock: Clock) -> None:
    """Tell in metrics, for ever, how targets fare, and what waits at them."""
    while True:
        try:
            counts, waiting = await queue.counts(), await queue.waiting()
        except StoreUnavailable as error:
            log.info("targets could not be counted", reason=error.message)
        else:
            for circuit in Circuit:
                metrics.TARGETS.labels(circuit).set(counts.get(circuit, 0))
                _tell_waiting(circuit, waiting.get(circuit, NOTHING_WAITS), clock())
        await asyncio.sleep(COUNT_EVERY_S)


def _tell_waiting(circuit: Circuit, waiting: Waiting, now: datetime) -> None:
    age_s = 0.0 if waiting.oldest_at is None else (now - waiting.oldest_at).total_seconds()
    metrics.WAITING.labels(circuit).set(waiting.deliveries)
    metrics.OLDEST_WAITING.labels(circuit).set(max(0.0, age_s))


class KeyWatch:
    """Whether the keys that we were `given` are all those that secrets in use were sealed by."""

    def __init__(self, given: Collection[str]) -> None:
        self._given = frozenset(given)
        self.trouble: str | None = None

    async def watch(self, seals: Seals) -> None:
        """Look now and then, for ever."""
        while True:
            try:
                self._look(await seals.sealed_by())
            except StoreUnavailable as error:
                log.info("keys could not be compared", reason=error.message)
            await asyncio.sleep(COMPARE_EVERY_S)

    def _look(self, in_use: Collection[str]) -> None:
        missing = sorted(set(in_use) - self._given)
        metrics.MISSING_KEYS.set(len(missing))
        known, self.trouble = self.trouble, None
        if missing:
            self.trouble = f"secrets are sealed by keys that are not in PENSTOCK_WEBHOOK_KEYS: {', '.join(missing)}"
            if known is None:
                log.error(self.trouble)


async def reseal(secrets: Resealing, ring: KeyRing, clock: Clock) -> None:
    """Seal by the newest key, for ever, what an older one has sealed. Several notifiers at it do no harm."""
    while True:
        try:
            rows = await secrets.reseal(ring, clock())
        except StoreUnavailable as error:
            log.info("secrets could not be sealed anew", reason=error.message)
        else:
            if rows:
                log.info("secrets are sealed by the newest key now", key=ring.newest, rows=rows)
        await asyncio.sleep(RESEAL_EVERY_S)


async def purge(queue: DeliveryQueue, clock: Clock) -> None:
    """Forget what is kept no longer, now and then, for ever. Several notifiers at it do no harm."""
    while True:
        rows = 0
        try:
            rows = await queue.purge(clock(), limit=PURGED_AT_ONCE)
            metrics.PURGED.inc(rows)
        except StoreUnavailable as error:
            metrics.PURGE_FAILURES.inc()
            log.warning("deliveries that are kept no longer could not be purged", reason=error.message)
        await asyncio.sleep(REST_S if rows >= PURGED_AT_ONCE else PURGE_EVERY_S)
