"""Counting the starts of jobs, so that one that ends its process every time is found and given up."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.protocols import JobKey, Starts
from workers.inference import metrics
from workers.inference.batching.pending_job import PendingJob

log = get_logger(__name__)

# A job that was started so often without ending is not started again.
MOST_STARTS: Final = 3
# Ends are told with the next starts; where there are none, together. A worker that dies before has its last jobs
# counted once too often, which harms none of them.
FORGET_WITHIN_S: Final = 0.1

T = TypeVar("T")


class CrashGuard:
    """`Starts` for micro-batches: forgets in the background, and goes on uncounted while there is no store."""

    def __init__(self, starts: Starts) -> None:
        self._starts = starts
        self._away = False
        self._ended: list[JobKey] = []
        self._timer: asyncio.TimerHandle | None = None
        self._forgetting: set[asyncio.Task[None]] = set()

    async def count_starts(self, jobs: Sequence[PendingJob]) -> set[int]:
        """Count a start of each job that had none; returns the indexes of the others."""
        ended, self._ended = self._ended, []
        earlier = await self._counted(self._starts.count([job.starts_key for job in jobs], ended), len(jobs))
        return {index for index, starts in enumerate(earlier) if starts} if earlier and any(earlier) else set()

    async def earlier_alone(self, job: PendingJob) -> int:
        """Count a start of a job that is started alone; returns how many it had before."""
        return await self._counted(self._starts.count_again(job.starts_key), 1) or 0

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
        if not jobs:
            return
        self._ended.extend([job.starts_key for job in jobs])
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FORGET_WITHIN_S, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        ended, self._ended = self._ended, []
        if ended:
            task = asyncio.create_task(self._forget(ended))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def forget_now(self, jobs: Sequence[PendingJob]) -> None:
        """Return when they are forgotten."""
        await self._forget([job.starts_key for job in jobs])

    async def _forget(self, keys: Sequence[JobKey]) -> None:
        with suppress(StoreUnavailable):  # then they are forgotten by themselves, some time later
            await self._starts.forget(keys)

    async def close(self) -> None:
        """Return when what is to be forgotten is."""
        if self._timer is not None:
            self._timer.cancel()
            self._time_is_up()
        if self._forgetting:
            await asyncio.wait(self._forgetting)
