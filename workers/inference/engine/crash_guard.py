"""Counting the starts of jobs, so that one that ends its process every time is found and given up."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.seams import JobKey, Starts
from workers.inference import metrics
from workers.inference.batching.pending_job import PendingJob

log = get_logger(__name__)

# A job that was started so often without ending is not started again.
MOST_STARTS: Final = 3
# Ends are told together. A worker that dies before has its last jobs counted once too often, which harms none of them.
FORGET_WITHIN_S: Final = 0.1

T = TypeVar("T")


class CrashGuard:
    """`Starts` for micro-batches: forgets in the background, and goes on uncounted while there is no store."""

    def __init__(self, starts: Starts) -> None:
        self._starts = starts
        self._away = False
        self._ended: list[JobKey] = []
        self._closing = asyncio.Event()
        self._forgetting: asyncio.Task[None] | None = None

    async def earlier(self, items: Sequence[PendingJob]) -> Sequence[int]:
        """Count a start of each item that had none; returns how many each had before."""
        keys = [item.key for item in items]
        return await self._counted(self._starts.count(keys), len(items)) or [0] * len(items)

    async def earlier_alone(self, item: PendingJob) -> int:
        """Count a start of an item that is started alone; returns how many it had before."""
        return await self._counted(self._starts.count_again(item.key), 1) or 0

    async def _counted(self, counting: Awaitable[T], jobs: int) -> T | None:
        try:
            counted = await counting
        except StoreUnavailable as error:
            metrics.UNCOUNTED_STARTS.inc(jobs)
            if not self._away:
                log.warning("starts of jobs are not counted until Redis is back", reason=error.message)
            self._away = True
            return None
        if self._away:
            log.info("starts of jobs are counted again")
        self._away = False
        return counted

    def forget(self, items: Sequence[PendingJob]) -> None:
        """The items have ended, or will not be started here."""
        self._ended.extend([item.key for item in items])
        if self._ended and self._forgetting is None:
            self._forgetting = asyncio.create_task(self._forget_together())

    async def _forget_together(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FORGET_WITHIN_S):
                await self._closing.wait()
        ended, self._ended, self._forgetting = self._ended, [], None
        with suppress(StoreUnavailable):  # then they are forgotten by themselves, some time later
            await self._starts.forget(ended)

    async def forget_now(self, items: Sequence[PendingJob]) -> None:
        """Return when they are forgotten."""
        with suppress(StoreUnavailable):
            await self._starts.forget([item.key for item in items])

    async def close(self) -> None:
        """Return when what is to be forgotten is."""
        self._closing.set()
        if self._forgetting is not None:
            await self._forgetting
