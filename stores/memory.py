"""The in-memory twin of the job store: what the contracts promise, without Postgres. For tests."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import msgspec

from runtime.clock import Clock, now_utc
from schemas.errors import InvalidInput, JobNotFound, StoreUnavailable
from schemas.jobs import Job, Status, Terminal, ended
from stores.memory_webhook_events import MemoryEvents
from stores.protocols import (
    CANCELED,
    INLINE_RESULT_BYTES,
    Admission,
    IdempotencyKey,
    JobFilter,
    JobKey,
    JobPage,
    Purged,
)
from stores.replays import KEY_KEPT, KEY_LEASE, WITHDRAWN, KnownKey, resolve_replay
from stores.retention import DEFAULT_RETENTION, is_due, is_past, may_be_purged
from stores.validation import check_key, check_names, metadata_json, storable

_INTEGERS: Final = 2**31


class MemoryJobs:
    """`Admissions`, `Jobs`, `ResultStore` and `Purging` in one.

    While `down` is true, every call raises `StoreUnavailable`. `events` hear of jobs that end or run.
    """

    def __init__(
        self,
        clock: Clock = now_utc,
        retention: timedelta = DEFAULT_RETENTION,
        most_looked_at: int = 10_000,
        events: MemoryEvents | None = None,
    ) -> None:
        self.down = False
        self._events = events
        self._retention = retention
        self._most_looked_at = most_looked_at
        self._clock = clock
        self._jobs: dict[JobKey, Job] = {}
        self._taken: dict[tuple[str, str], KnownKey] = {}

    @property
    def known(self) -> Sequence[JobKey]:
        """The jobs that have a row."""
        return list(self._jobs)

    async def insert(self, job: Job, idempotency: IdempotencyKey | None = None) -> Admission:
        self._check_up()
        check_names(job)
        metadata_json(job.metadata)
        if idempotency is None:
            known_before = _key(job) in self._jobs
            return Admission(self._jobs.setdefault(_key(job), job), replayed=known_before)
        check_key(idempotency)
        now = self._clock()
        place = (job.tenant, idempotency.key)
        if place not in self._taken:
            self._taken[place] = KnownKey(idempotency.fingerprint, job.id, now, now + KEY_LEASE, job.id)
            self._jobs.setdefault(_key(job), job)
            return Admission(job, replayed=False)
        known = self._taken[place]
        stored = self._jobs.get(JobKey(job.tenant, known.job_id))
        replay = resolve_replay(known, idempotency, stored, now)
        if replay is not None:
            return Admission(replay, replayed=True)
        placed = stored or msgspec.structs.replace(job, id=known.job_id)
        self._jobs.setdefault(_key(placed), placed)
        self._hold(place, now + KEY_LEASE, job.id)
        return Admission(placed, replayed=False)

    async def recall(self, tenant: str, idempotency: IdempotencyKey) -> Job | None:
        self._check_up()
        check_key(idempotency)
        known = self._taken.get((tenant, idempotency.key))
        if known is None:
            return None
        stored = self._jobs.get(JobKey(tenant, known.job_id))
        return resolve_replay(known, idempotency, stored, self._clock())

    async def admitted(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        self._check_up()
        return {key: self._jobs[key] for key in keys if key in self._jobs}

    async def insert_new(self, jobs: Sequence[Job]) -> None:
        self._check_up()
        for job in jobs:
            if _fits(job) and _is_json(job.metadata):
                self._jobs.setdefault(_key(job), job)

    async def renew(self, job: Job, idempotency: IdempotencyKey) -> None:
        self._check_up()
        if self._held(job, idempotency) is not None:
            self._hold((job.tenant, idempotency.key), self._clock() + KEY_LEASE, job.id)

    async def confirm(self, job: Job, idempotency: IdempotencyKey) -> None:
        self._check_up()
        known = self._taken.get((job.tenant, idempotency.key))
        if known is not None and known.job_id == job.id:
            self._hold((job.tenant, idempotency.key), None, None)
            if known.held_until is not None and known.holder != job.id and not may_be_purged(job, self._clock()):
                self._jobs.setdefault(_key(job), job)

    async def withdraw(self, job: Job, idempotency: IdempotencyKey | None = None) -> None:
        self._check_up()
        job_id = job.id if idempotency is None else self._held(job, idempotency)
        stored = None if job_id is None else self._jobs.get(JobKey(job.tenant, job_id))
        if stored is not None and stored.status is Status.QUEUED:
            del self._jobs[_key(stored)]
            if idempotency is not None:
                known = self._taken[job.tenant, idempotency.key]
                self._hold((job.tenant, idempotency.key), known.held_until, WITHDRAWN)

    async def get(self, key: JobKey) -> Job | None:
        self._check_up()
        return self._jobs.get(key)

    async def glance(self, key: JobKey) -> Job | None:
        job = await self.get(key)
        if job is None or job.result is None or len(job.result.value) <= INLINE_RESULT_BYTES:
            return job
        return msgspec.structs.replace(job, result=None)

    async def list(self, tenant: str, *, after: str | None, limit: int, status: Status | None) -> Sequence[Job]:
        self._check_up()
        return self._newest(tenant, JobFilter(status), after)[:limit]

    async def search(self, tenant: str, wanted: JobFilter, *, after: str | None, limit: int) -> JobPage:
        self._check_up()
        looked_at = self._newest(tenant, wanted, after)[: self._most_looked_at]
        jobs = list(filter(wanted.fits, looked_at))
        if len(jobs) > limit:
            return JobPage(jobs[:limit], jobs[limit - 1].id if limit else after)
        return JobPage(jobs, looked_at[-1].id if len(looked_at) == self._most_looked_at else None)

    async def cancel(self, key: JobKey, now: datetime) -> Job | None:
        self._check_up()
        job = self._jobs.get(key)
        if job is None or job.done:
            return job
        canceled = msgspec.structs.replace(job, status=Status.CANCELED, completed_at=now, error=CANCELED)
        self._change(canceled, now)
        return canceled

    async def finish(self, terminals: Sequence[Terminal]) -> Sequence[JobKey]:
        self._check_up()
        won = []
        for terminal in terminals:
            key = JobKey(terminal.tenant, terminal.id)
            stored = self._jobs.get(key)
            if stored is None and is_past(terminal, self._clock(), self._retention):
                continue
            if (stored is None or not stored.done) and _fits(terminal) and _is_json(terminal.metadata):
                unseen = Job(**msgspec.structs.asdict(terminal) | {"reply_to": None})
                self._change(unseen if stored is None else ended(stored, terminal), self._clock())
                won.append(key)
        return won

    async def mark_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        self._check_up()
        for key in keys:
            job = self._jobs.get(key)
            if job is not None and job.status is Status.QUEUED:
                running = msgspec.structs.replace(job, status=Status.RUNNING, started_at=started_at)
                self._change(running, self._clock())

    async def overdue(self, now: datetime, limit: int) -> Sequence[Job]:
        self._check_up()
        late = [job for job in self._jobs.values() if not job.done and job.expires_at <= now]
        return sorted(late, key=attrgetter("expires_at"))[:limit]

    async def purge(self, now: datetime) -> AsyncGenerator[Purged]:
        self._check_up()
        old = [place for place, known in self._taken.items() if known.created_at < now - KEY_KEPT]
        for place in old:
            del self._taken[place]
        yield Purged("idempotency_keys", len(old))
        due = [key for key, job in self._jobs.items() if self._is_due(job, now)]
        for key in due:
            del self._jobs[key]
        yield Purged("jobs", len(due))

    async def oldest_end(self) -> datetime | None:
        self._check_up()
        return min((job.completed_at for job in self._jobs.values() if job.completed_at is not None), default=None)

    def _is_due(self, job: Job, now: datetime) -> bool:
        return job.completed_at is not None and is_due(job.completed_at, job.keep_until, now, self._retention)

    def _newest(self, tenant: str, wanted: JobFilter, after: str | None) -> Sequence[Job]:
        last = None if after is None else self._jobs.get(JobKey(tenant, after))
        if after is not None and last is None:
            raise JobNotFound(f"there is no job {after!r} for a page to begin after", param="after")
        chosen = [
            msgspec.structs.replace(job, result=None)
            for job in self._jobs.values()
            if job.tenant == tenant and wanted.is_within(job) and (last is None or _age(job) < _age(last))
        ]
        return sorted(chosen, key=_age, reverse=True)

    def _held(self, job: Job, idempotency: IdempotencyKey) -> str | None:
        """The id that the key stands for, if it is held for this job."""
        known = self._taken.get((job.tenant, idempotency.key))
        return known.job_id if known is not None and known.holder == job.id else None

    def _hold(self, place: tuple[str, str], until: datetime | None, holder: str | None) -> None:
        self._taken[place] = msgspec.structs.replace(self._taken[place], held_until=until, holder=holder)

    def _change(self, job: Job, now: datetime) -> None:
        """The job ended, or runs from now on."""
        self._jobs[_key(job)] = job
        if self._events is not None:
            self._events.tell(job, now)

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the store is down")


def _key(job: Job) -> JobKey:
    return JobKey(job.tenant, job.id)


def _age(job: Job) -> tuple[datetime, str]:
    return job.created_at, job.id


def _fits(row: Job | Terminal) -> bool:
    """Whether the columns of Postgres would take it."""
    texts: list[str | None] = [row.tenant, row.id, row.model, row.version, row.variant, row.rescue_to, row.moved_from]
    numbers = [row.rows, row.revision or 0]
    if isinstance(row, Job):
        texts.append(row.webhook)
    if row.result is not None:
        texts.append(row.result.content_type)
        numbers.append(row.result.json_length or 0)
    return storable(*texts) and all(-_INTEGERS <= number < _INTEGERS for number in numbers)


def _is_json(metadata: dict[str, Any]) -> bool:
    try:
        metadata_json(metadata)
    except InvalidInput:
        return False
    return True
