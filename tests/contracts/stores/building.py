"""Jobs and endings to put into stores."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.errors import DeadlineExceeded, JobError
from schemas.jobs import Job, Payload, Status, Terminal, new_job_id
from schemas.topics import LaneClass
from stores.protocols import Admissions, IdempotencyKey, JobKey, Jobs, Purging, ResultStore

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
FAILED = JobError("the model raised").body()
TOO_LATE = DeadlineExceeded("not in time").body()


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


class Stores:
    """The protocols of one store."""

    def __init__(self, admissions: Admissions, jobs: Jobs, endings: ResultStore, purging: Purging) -> None:
        self.admissions = admissions
        self.jobs = jobs
        self.endings = endings
        self.purging = purging

    async def purge(self, now: datetime) -> dict[str, int]:
        """How many rows went, by table."""
        rows: Counter[str] = Counter()
        async for purged in self.purging.purge(now):
            assert purged.failure is None
            rows[purged.table] += purged.rows
        return {table: count for table, count in rows.items() if count}

    async def inserted(self, **fields: Any) -> Job:
        """A job that stands in the store."""
        job = queued(**fields)
        await self.admissions.insert(job)
        return job

    async def found(self, job: Job) -> Job:
        """The job as the store holds it now."""
        stored = await self.jobs.get(key_of(job))
        assert stored is not None
        return stored


def queued(**fields: Any) -> Job:
    given: dict[str, Any] = {
        "tenant": "default",
        "id": new_job_id(),
        "model": "digits",
        "version": "2",
        "lane": LaneClass.LIVE,
        "status": Status.QUEUED,
        "created_at": NOW,
        "expires_at": NOW + timedelta(minutes=10),
    }
    return Job(**given | fields)


def id_of(moment: datetime) -> str:
    """An id as a gateway makes it at that time."""
    return f"job_{int(moment.timestamp() * 1000):012x}{os.urandom(10).hex()}"


def ended(job: Job, **fields: Any) -> Terminal:
    """A terminal record of the job: success, unless the fields say otherwise."""
    given: dict[str, Any] = {
        name: getattr(job, name)
        for name in (
            "tenant",
            "id",
            "model",
            "version",
            "lane",
            "created_at",
            "expires_at",
            "rows",
            "answer",
            "variant",
            "revision",
            "cohort",
            "retention_s",
        )
    }
    given |= {
        "status": Status.SUCCEEDED,
        "started_at": NOW,
        "completed_at": LATER,
        "result": Payload(b'{"outputs":[]}'),
    }
    return Terminal(**given | fields)


def failed(job: Job, **fields: Any) -> Terminal:
    return ended(job, **{"status": Status.FAILED, "result": None, "error": FAILED} | fields)


def key_of(job: Job | Terminal) -> JobKey:
    return JobKey(job.tenant, job.id)


def idempotency(key: str = "key-1", body: bytes = b"body") -> IdempotencyKey:
    return IdempotencyKey(key, body)
