"""Promised batches: what was promised, how fast its version is, and which must go before all others."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from producers.window import RowRate
from runtime.logs import get_logger
from schemas.batches import Batch, BatchStatus
from schemas.promises import Promise, urgent
from stores.batches import Batches
from stores.promises import Promises, Seen, VersionKey
from stores.protocols import JobKey
from workers.feeder import metrics

log = get_logger(__name__)

# A rate holds for a model and its workers, not for a moment: what was seen counts half after so long under load.
LEARNED_HALF_LIFE_S: Final = 1800.0
# Whoever asks writes the promise before the batch: one without a batch by then was given up.
WRITTEN_WITHIN: Final = timedelta(minutes=10)


class Promising:
    """`urgent` has the ids of batches which go before those that are not urgent."""

    def __init__(self, promises: Promises, batches: Batches) -> None:
        self._promises = promises
        self._batches = batches
        self._rates: dict[VersionKey, RowRate] = {}
        self.urgent: frozenset[str] = frozenset()

    def forget(self) -> None:
        """By the next time another feeder may have learned more."""
        self._rates.clear()
        self.urgent = frozenset()

    async def rate_of(self, version: VersionKey) -> RowRate:
        """What the version does while more waits than may be in its lane."""
        rate = self._rates.get(version)
        if rate is None:
            seen = (await self._promises.learned([version])).get(version, Seen(0.0, 0.0))
            rate = self._rates.setdefault(version, RowRate(LEARNED_HALF_LIFE_S, *seen))
        return rate

    def tell_waiting(self, versions: set[VersionKey], now_s: float) -> None:
        """Of these versions more waits than may be in their lanes, of others nothing does."""
        for version, rate in self._rates.items():
            if version in versions:
                rate.began(now_s)
            else:
                rate.idle()

    async def look(self, batches: Mapping[str, Batch], now: datetime, now_s: float) -> None:
        """Write down what was learned and how far promised batches are, of those that have not ended; take off those
        that have; and see what is urgent now."""
        if self._rates:
            await self._promises.learn({version: Seen(*rate.seen(now_s)) for version, rate in self._rates.items()})
        standing = await self._promises.all_standing()
        over = [each for each in standing if each.id not in batches and await self._is_over(each, now)]
        if over:
            await self._promises.take_off([JobKey(each.tenant, each.id) for each in over])
        left = [each for each in standing if each.id in batches]
        if left:
            ended = {JobKey(each.tenant, each.id): _rows_ended(each, batches[each.id]) for each in left}
            await self._promises.advance(ended)
        self.urgent = await self._urgent(left, now)
        metrics.PROMISES.set(len(left))

    async def _is_over(self, promise: Promise, now: datetime) -> bool:
        batch = await self._batches.get(promise.tenant, promise.id)
        if batch is None:
            return promise.created_at < now - WRITTEN_WITHIN
        if batch.done:
            _count(promise, batch)
        return batch.done

    async def _urgent(self, left: Iterable[Promise], now: datetime) -> frozenset[str]:
        of_versions: dict[VersionKey, list[Promise]] = {}
        for each in left:
            of_versions.setdefault(VersionKey(each.model, each.version), []).append(each)
        seen = await self._promises.learned(of_versions) if of_versions else {}
        found: frozenset[str] = frozenset()
        for version, promised in of_versions.items():
            rows_per_s = seen[version].rows_per_s if version in seen else None
            found |= await asyncio.to_thread(urgent, promised, rows_per_s, now)
        return found


def _rows_ended(promise: Promise, batch: Batch) -> int:
    """As large a part of the promised rows as of the lines: how many rows a line has was estimated."""
    counts = batch.counts
    return promise.rows * (counts.total - counts.processing) // counts.total if counts.total else 0


def _count(promise: Promise, batch: Batch) -> None:
    if batch.status is not BatchStatus.COMPLETED and batch.status is not BatchStatus.EXPIRED:
        return  # what was cancelled, or was no valid input, says nothing of promises
    kept = batch.ended_at is not None and batch.ended_at <= promise.deadline
    metrics.PROMISED.labels("kept" if kept else "broken").inc()
    if not kept:
        log.warning("a promised deadline was missed", batch=batch.id, deadline=promise.deadline.isoformat())
