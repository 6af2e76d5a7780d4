"""Ending the jobs that nobody ended in time: whose worker died, whose lane has none, whose record was lost.

They end as every job does, by a record of the results topic: whoever reads it learns of them too, and where a
worker's result is already on its way, that came first and counts.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from producers.protocols import Publisher
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import DeadlineExceeded, StoreUnavailable
from schemas.jobs import Job, Terminal, failed_end
from schemas.records import terminal_record
from schemas.topics import Topics
from stores.protocols import JobKey, ResultStore
from workers.sink import metrics

log = get_logger(__name__)

SOURCE: Final = "/penstock/sink"
AT_ONCE: Final = 1000
# Between sweeps that found as many as they may, and ended some of them.
SHORT_PAUSE_S: Final = 0.1
# A record that is written is read before long: until then its job is still overdue, and need not be ended again.
AGAIN_AFTER_S: Final = 60.0


class Expirer:
    """Looks for overdue jobs every `interval_s`. Several at once do no harm: the first end of a job counts.

    `grace_s` leaves the worker that holds a job the time to end it itself.
    """

    def __init__(
        self,
        endings: ResultStore,
        publisher: Publisher,
        topics: Topics,
        clock: Clock,
        *,
        grace_s: float,
        interval_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endings = endings
        self._publisher = publisher
        self._topics = topics
        self._clock = clock
        self._grace = timedelta(seconds=grace_s)
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._ended_at_s: dict[JobKey, float] = {}

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            more = False
            try:
                more = await self.sweep()
            except StoreUnavailable as error:
                log.warning("overdue jobs could not be read", reason=error.message)
            await asyncio.sleep(SHORT_PAUSE_S if more else self._interval_s)

    async def sweep(self) -> bool:
        """End the jobs that are overdue now. Returns whether there may be more, which this sweep did not see.

        Where it only sees jobs whose ends are on their way, it sees others no sooner than these are there.
        """
        now = self._clock()
        jobs = {JobKey(job.tenant, job.id): job for job in await self._endings.overdue(now - self._grace, AT_ONCE)}
        repeat_before_s = self._clock_s() - AGAIN_AFTER_S
        # What is no longer found has ended, and is forgotten here.
        self._ended_at_s = {key: at for key, at in self._ended_at_s.items() if key in jobs and at > repeat_before_s}
        fresh = {key: job for key, job in jobs.items() if key not in self._ended_at_s}
        records = [terminal_record(self._topics.results, expired(job, self._clock), SOURCE) for job in fresh.values()]
        outcomes = await self._publisher.publish_all(records)
        for key, error in zip(fresh, outcomes, strict=True):
            if error is None:
                self._ended_at_s[key] = self._clock_s()
                metrics.EXPIRED.inc()
        failed = [error for error in outcomes if error is not None]
        if failed:
            log.warning("overdue jobs could not be ended", jobs=len(failed), reason=failed[0].message)
        return len(jobs) == AT_ONCE and len(failed) < len(fresh)


def expired(job: Job, clock: Clock) -> Terminal:
    """The end of a job whose deadline has passed."""
    return failed_end(job, DeadlineExceeded("the deadline passed before the job ended"), clock())
