"""What the rest of Penstock asks of its stores. Postgres and Redis answer; each seam has an in-memory twin.

Every method may raise `StoreUnavailable`. Jobs are addressed by tenant and id: an id of another tenant is not found.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from schemas.jobs import Job, Status, Terminal


class JobKey(NamedTuple):
    tenant: str
    id: str


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A client's idempotency key and the digest of the body it came with."""

    key: str
    fingerprint: bytes


class Admission(msgspec.Struct, frozen=True):
    """What became of an insert: the job as the store holds it, and whether it stood there before."""

    job: Job
    replayed: bool


class Admissions(Protocol):
    """Where accepted jobs are written down. Concurrent calls share one grouped insert."""

    async def insert(self, job: Job, idempotency: IdempotencyKey | None = None) -> Admission:
        """Write a queued job; durable on return.

        With a key that is new, the key is taken together with the job, and is in flight until `confirm`.
        With a known key: the first job again, `RequestInFlight` while the first request is unanswered,
        `IdempotencyMismatch` for another body. A key whose job was withdrawn gives that job's id again.
        """

    async def insert_new(self, jobs: Sequence[Job]) -> None:
        """Write those of the jobs that the store does not know yet; leave the others as they are."""

    async def confirm(self, job: Job, idempotency: IdempotencyKey) -> None:
        """The request with this key has been answered: from now on it is replayed."""

    async def withdraw(self, job: Job) -> None:
        """Take back a job whose record could not be sent, if it is still queued. Its key keeps the job's id."""


class Jobs(Protocol):
    """Reading and canceling jobs."""

    async def get(self, key: JobKey) -> Job | None:
        """The job with its result or error. Concurrent calls share one query."""

    async def list(self, tenant: str, *, after: str | None, limit: int, status: Status | None) -> Sequence[Job]:
        """Newest first, without results; `after` is the id of the last job of the page before."""

    async def cancel(self, key: JobKey, now: datetime) -> Job | None:
        """Cancel a job that has not ended. Returns it as it now is: canceled, or as it had ended before."""


class Endings(Protocol):
    """Where terminal records become durable."""

    async def finish(self, terminals: Sequence[Terminal]) -> Sequence[JobKey]:
        """Write terminal records, also of jobs never seen before; the first of a job wins. Returns those that won."""

    async def mark_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        """Queued jobs become running."""

    async def overdue(self, now: datetime, limit: int) -> Sequence[Job]:
        """Jobs that have not ended although their deadline has passed, oldest deadline first."""


class Signals(Protocol):
    """News that may be lost: whoever waits for it also asks the store, only less often."""

    async def announce_done(self, keys: Sequence[JobKey]) -> None: ...

    async def announce_running(self, keys: Sequence[JobKey], started_at: datetime) -> None: ...

    async def announce_cancel(self, key: JobKey, expires_at: datetime) -> None:
        """Tell every worker, also those that start before `expires_at`."""


class News(Protocol):
    """The other end of `Signals`. Iterators never end; they reconnect on their own and raise nothing."""

    def done(self) -> AsyncIterator[Sequence[JobKey]]: ...

    def running(self) -> AsyncIterator[tuple[Sequence[JobKey], datetime]]: ...

    def canceled(self) -> AsyncIterator[tuple[JobKey, datetime]]:
        """Cancellations with the job's deadline: first those still of interest, then new ones as they come."""
