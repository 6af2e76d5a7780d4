"""The in-memory twin of the holds. For tests."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from operator import attrgetter

from schemas.errors import StoreUnavailable
from schemas.holds import Hold, Meant, ended_by
from schemas.jobs import Job, Status, failed_end
from stores.holds import MOST_COUNTED, RELEASE, AuditEntry, Ended, Place, refuse_too_many
from stores.memory import MemoryJobs
from stores.protocols import JobKey


class MemoryHolds:
    """`HoldStore`, `HoldNews` and `WaitingJobs`, over the jobs of that twin. While `down` is true, every call raises
    `StoreUnavailable`."""

    def __init__(self, jobs: MemoryJobs) -> None:
        self.down = False
        self._jobs = jobs
        self._holds: dict[str, Hold] = {}
        self._audit: list[AuditEntry] = []
        self._telling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def add(self, hold: Hold, matched: int) -> None:
        self._check_up()
        refuse_too_many(len(self._holds))
        self._holds[hold.id] = hold
        self._log(hold, hold.created_at, hold.created_by, hold.action, hold.reason, matched)

    async def remove(self, hold_id: str, by: str, at: datetime, *, verb: str = RELEASE, note: str = "") -> Hold | None:
        self._check_up()
        hold = self._holds.pop(hold_id, None)
        if hold is not None:
            self._log(hold, at, by, verb, note, 0)
        return hold

    def _log(self, hold: Hold, at: datetime, by: str, verb: str, note: str, matched: int) -> None:
        number = len(self._audit) + 1
        self._audit.append(AuditEntry(id=number, at=at, by=by, verb=verb, note=note, hold=hold, matched=matched))

    async def all(self) -> Sequence[Hold]:
        self._check_up()
        return sorted(self._holds.values(), key=attrgetter("created_at", "id"))

    async def audit(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        self._check_up()
        return [each for each in reversed(self._audit) if before is None or each.id < before][:limit]

    @asynccontextmanager
    async def telling(self, hold_id: str) -> AsyncIterator[Hold | None]:
        self._check_up()
        async with self._telling[hold_id]:
            yield self._holds.get(hold_id)

    async def count(self, meant: Meant, *, until: datetime | None = None) -> int:
        return min(len(await self._waiting(meant, until)), MOST_COUNTED)

    async def end(self, hold: Hold, now: datetime, *, after: Place | None, limit: int) -> Ended:
        waiting = await self._waiting(hold, hold.created_at)
        jobs = [job for job in waiting if after is None or Place(job.expires_at, job.id) > after][:limit]
        ended = await self._jobs.finish([failed_end(job, ended_by(hold), now) for job in jobs])
        return Ended(ended, Place(jobs[-1].expires_at, jobs[-1].id) if len(jobs) == limit else None)

    async def _waiting(self, meant: Meant, until: datetime | None) -> Sequence[Job]:
        self._check_up()
        known = [await self._jobs.get(JobKey(*key)) for key in self._jobs.known]
        waiting = [
            job
            for job in known
            if job is not None
            and job.status is Status.QUEUED
            and meant.fits(job)
            and (until is None or job.created_at <= until)
        ]
        return sorted(waiting, key=attrgetter("expires_at", "id"))

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the holds are down")
