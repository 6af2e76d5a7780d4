"""What the rest of Penstock asks of its stores. Postgres and Redis answer; each protocol has an in-memory twin.

Every method may raise `StoreUnavailable`: the store did not do it, or did not say in time whether it did.
Jobs are addressed by tenant and id: an id of another tenant is not found. A name that no store can hold, for it
has a NUL character or half a surrogate pair in it, is not found either, and `InvalidInput` where it is to be written.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.errors import Canceled, PenstockError
from schemas.jobs import Job, Status, Terminal
from schemas.topics import LaneClass

# A result above this many bytes is not read together with others: a group of reads stays below 32 MiB.
INLINE_RESULT_BYTES: Final = 64 * 1024

CANCELED: Final = Canceled("the job was canceled").body()  # the error of a job canceled before it ended


class JobKey(NamedTuple):
    tenant: str
    id: str


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A client's idempotency key and the digest of the body it came with."""

    key: str
    fingerprint: bytes


class Admission(msgspec.Struct, frozen=True):
    """What became of an insert: the job as the store holds it, and whether its record has been sent before.

    Where `replayed` is false the caller sends `job`, which need not be the job it asked for: it has the id, and
    perhaps all else, of the job that took the same idempotency key first.
    """

    job: Job
    replayed: bool


class Admissions(Protocol):
    """Where accepted jobs are written down. Concurrent calls share one grouped insert."""

    def insert(self, job: Job, idempotency: IdempotencyKey | None = None) -> Awaitable[Admission]:
        """Write a queued job; durable on return. A job id the store knows already is left alone, and is replayed.

        With a key that is new, the key is taken together with the job, and is in flight until `confirm`, or until
        `KEY_LEASE` (see `stores.replays`) has passed since it was taken or renewed. With a known key:
        `IdempotencyMismatch` for another body, else the first job again, replayed, once confirmed; `RequestInFlight`
        while in flight; and where the lease ran out over a job that is still queued, that job, not replayed, under a
        new lease.
        A key whose job was withdrawn gives that job's id again, at once; `JobNotFound` for one whose job is kept no
        longer.

        Raises `StoreUnavailable`, `perhaps_done` where the job may have been written; a caller that is cancelled cannot
        know it either.
        """

    async def recall(self, tenant: str, idempotency: IdempotencyKey) -> Job | None:
        """The job that a request with this key was answered with before; None where none was, or it is to be sent anew.

        Raises `IdempotencyMismatch`, `RequestInFlight` and `JobNotFound` as `insert` does. Writes nothing.
        """

    async def insert_new(self, jobs: Sequence[Job]) -> None:
        """Write those of the jobs that the store does not know yet, as queued; leave the others as they are.

        A job that no store can hold is left out, with a line in the log: its neighbours must not wait for ever.
        """

    async def admitted(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        """Those of the jobs that are there. One that has ended may lack its result."""

    async def renew(self, job: Job, idempotency: IdempotencyKey) -> None:
        """Hold the key for another `KEY_LEASE`, if it is still held for this `job`, as it was given to `insert`."""

    async def confirm(self, job: Job, idempotency: IdempotencyKey) -> None:
        """The request with this key has been answered with this `job`, as admitted: from now on it is replayed.

        Where another request took the key over and withdrew the job meanwhile, the job is written again; not so late
        that it may have ended and been purged since.
        """

    async def withdraw(self, job: Job, idempotency: IdempotencyKey | None = None) -> None:
        """Take back what `insert`, called with the same, has written or may yet write, if the job is still queued.

        A key keeps the job's id. Nothing is taken back once another request holds the key, or has been answered.
        """


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs are wanted: those that agree with all that is given. Times are of creation, and not included."""

    status: Status | None = None
    model: str | None = None
    version: str | None = None
    lane: LaneClass | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def fits(self, job: Job) -> bool:
        return all(
            wanted in (None, found)
            for wanted, found in ((self.model, job.model), (self.version, job.version), (self.lane, job.lane))
        )

    def is_within(self, job: Job) -> bool:
        """Whether its state and its time are those that are wanted."""
        return (
            self.status in (None, job.status)
            and (self.created_after is None or job.created_at > self.created_after)
            and (self.created_before is None or job.created_at < self.created_before)
        )


class JobPage(NamedTuple):
    """`next_after` is what the next page begins after; None where there is none. A page may hold fewer jobs than were
    asked for, or none, and still have a next."""

    jobs: Sequence[Job]
    next_after: str | None


class Jobs(Protocol):
    """Reading and canceling jobs."""

    async def get(self, key: JobKey) -> Job | None:
        """The job with its result or error. Concurrent calls share one query."""

    async def glance(self, key: JobKey) -> Job | None:
        """As `get`, but without a result above `INLINE_RESULT_BYTES`."""

    async def list(self, tenant: str, *, after: str | None, limit: int, status: Status | None) -> Sequence[Job]:
        """Newest first, those of one moment by their ids; without results.

        `after` is the id of the last job of the page before. Raises `JobNotFound` if that one is there no more.
        """

    async def search(self, tenant: str, wanted: JobFilter, *, after: str | None, limit: int) -> JobPage:
        """As `list`, of the jobs that are wanted. Looks at a number of jobs at most, however few of them are."""

    async def cancel(self, key: JobKey, now: datetime) -> Job | None:
        """Cancel a job that has not ended. Returns it as it now is: canceled, or as it had ended before."""


class ResultStore(Protocol):
    """Where terminal records become durable."""

    async def finish(self, terminals: Sequence[Terminal]) -> Sequence[JobKey]:
        """Write terminal records, also of jobs never seen before; the first of a job wins. Returns those that won.

        In groups, each all or nothing: of a call that raises, some may have been written, and the next one does not
        return these. A job in the store keeps all that was said at its admission; the record adds how it ended.
        Only a record that no store can hold is left out, with a line in the log: its neighbours must not wait for ever.
        So is the end of a job that the store does not have, if the job's deadline has passed and it would be purged: it
        was there before, and is kept no longer.
        """

    async def mark_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        """Queued jobs become running."""

    async def overdue(self, now: datetime, limit: int) -> Sequence[Job]:
        """Jobs that have not ended although their deadline has passed, oldest deadline first."""


class Purged(NamedTuple):
    """One step of a purge: how many rows of the table went, or why it could not be purged."""

    table: str
    rows: int
    failure: PenstockError | None = None


class Purging(Protocol):
    """Forgetting what is kept no longer: ended jobs, and idempotency keys taken more than `KEY_KEPT` ago."""

    def purge(self, now: datetime) -> AsyncGenerator[Purged]:
        """Remove what is due, in steps so short that nobody waits for one; the caller rests between them, and may
        leave what is left to the next call, which goes on with it.

        A job is due `retention_s` after its end, and at the default time where it has none; one that has not ended
        never is. Does nothing where another process is at it.
        """

    async def oldest_end(self) -> datetime | None:
        """When the oldest ended job that is still there has ended, or nearly so."""


class Signals(Protocol):
    """News that may be lost: whoever waits for it also asks the store, only less often."""

    async def announce_done(self, keys: Sequence[JobKey], answers: Sequence[Terminal] = ()) -> None:
        """Tell everybody which jobs have ended, and before that, to each of the gateways that `answers` name in
        `reply_to`, how: it need not ask the store. Only ends that the store holds may be told so."""

    async def announce_running(self, keys: Sequence[JobKey], started_at: datetime) -> None: ...

    async def announce_cancel(self, key: JobKey, expires_at: datetime) -> None:
        """Tell every worker, also those that start before `expires_at`."""


def by_instance(answers: Iterable[Terminal]) -> dict[str, list[Terminal]]:
    """The ends by the gateways that wait for them."""
    ends: dict[str, list[Terminal]] = {}
    for answer in answers:
        if answer.reply_to is not None:
            ends.setdefault(answer.reply_to, []).append(answer)
    return ends


class News(Protocol):
    """The other end of `Signals`. Iterators never end; they reconnect on their own and raise nothing."""

    @property
    def connected(self) -> bool:
        """Whether news flow to every iterator in use. While they do not, whoever waits asks the store more often."""

    def done(self, instance: str | None = None) -> AsyncIterator[Sequence[JobKey | Terminal]]:
        """Jobs that have ended. Whoever says by which name it waits is told the ends meant for it themselves."""

    def running(self) -> AsyncIterator[tuple[Sequence[JobKey], datetime]]: ...

    def canceled(self) -> AsyncIterator[tuple[JobKey, datetime]]:
        """Cancellations with the job's deadline: first those still of interest, then new ones as they come."""


class Starts(Protocol):
    """How often jobs were started without ending: a job that ends the worker's process never comes to tell.

    What is counted may be lost. It is forgotten by itself long after the last start.
    """

    async def count(self, keys: Sequence[JobKey], ended: Sequence[JobKey] = ()) -> Sequence[int]:
        """Forget the jobs that have `ended`, then count a start of each of the others that has none yet.

        Returns how many each had before, in order.

        A job that had some is not counted: it is not to be started in this company.
        """

    async def count_again(self, key: JobKey) -> int:
        """Count another start of a job that is started alone. Returns how many it had before."""

    async def forget(self, keys: Sequence[JobKey]) -> None:
        """The jobs have ended, or were not started after all."""
