"""Counting the starts of jobs, so that one that ends its process every time is found and given up."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.protocols import JobKey, Starts
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
        self._counting: set[asyncio.Task[set[int]]] = set()
        self._forgetting: asyncio.Task[None] | None = None

    async def count_starts(self, jobs: Sequence[PendingJob]) -> set[int]:
        """Count a start of each job that had none; returns the indexes of the others.

        A caller that is canceled will not start them: then those that were counted are forgotten again.
        """
        task = asyncio.create_task(self._count([job.key for job in jobs]))
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(partial(self._take_back, jobs))
            raise

    async def _count(self, keys: Sequence[JobKey]) -> set[int]:
        earlier = await self._counted(self._starts.count(keys), len(keys)) or ()
        return {index for index, starts in enumerate(earlier) if starts}

    def _take_back(self, jobs: Sequence[PendingJob], counting: "asyncio.Task[set[int]]") -> None:
        if not counting.cancelled() and counting.exception() is None:
            self.forget([job for index, job in enumerate(jobs) if index not in counting.result()])

    async def earlier_alone(self, job: PendingJob) -> int:
        """Count a start of a job that is started alone; returns how many it had before."""
        return await self._counted(self._starts.count_again(job.key), 1) or 0

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

    def forget(self, jobs: Sequence[PendingJob]) -> None:
        """The jobs have ended, or will not be started here."""
        self._ended.extend([job.key for job in jobs])
        if self._ended and self._forgetting is None:
            self._forgetting = asyncio.create_task(self._forget_together())

    async def _forget_together(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FORGET_WITHIN_S):
                await self._closing.wait()
        ended, self._ended, self._forgetting = self._ended, [], None
        with suppress(StoreUnavailable):  # then they are forgotten by themselves, some time later
            await self._starts.forget(ended)

    async def forget_now(self, jobs: Sequence[PendingJob]) -> None:
        """Return when they are forgotten."""
        with suppress(StoreUnavailable):
            await self._starts.forget([job.key for job in jobs])

    async def close(self) -> None:
        """Return when what is to be forgotten is."""
        self._closing.set()
        if self._counting:
            await asyncio.wait(self._counting)
        if self._forgetting is not None:
            await self._forgetting
