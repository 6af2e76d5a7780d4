"""What a request with a known idempotency key gets. Pure: the stores look up, this decides."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from schemas.errors import IdempotencyMismatch, JobNotFound, RequestInFlight
from schemas.jobs import MIN_RETENTION_S, Job, Status
from stores.protocols import IdempotencyKey

# How long a request holds its idempotency key unless it renews its lease: a retry need not wait longer than this for
# a gateway that was killed. Renewed so often that a process may be late by more than half of it.
KEY_LEASE: Final = timedelta(seconds=1)
KEY_RENEWED_EVERY_S: Final = 0.3
KEY_KEPT: Final = timedelta(hours=24)
# In place of the holder's name, once it has withdrawn the job. Where roles of the version before find no name at all,
# they take the request as answered, and write no row for a job that was sent after all.
WITHDRAWN: Final = ""
# Half of the shortest time that an ended job is kept: no purge takes the job of a key that is younger, whatever the
# clock of the sink.
_TOO_YOUNG_TO_PURGE: Final = timedelta(seconds=MIN_RETENTION_S / 2)


class KnownKey(msgspec.Struct, frozen=True):
    """A key as the store holds it.

    `held_until` is when the lease of the request that is being answered runs out, `holder` the id that this request
    asked for. Both are None once a request was answered; who withdraws the job leaves `WITHDRAWN`.
    """

    fingerprint: bytes
    job_id: str
    created_at: datetime
    held_until: datetime | None
    holder: str | None = None

    def is_withdrawn(self, now: datetime) -> bool:
        """Whether that is why there is no job. A gateway of the version before leaves its name when it withdraws."""
        if self.held_until is None:
            return False
        return self.holder == WITHDRAWN or now - self.created_at < _TOO_YOUNG_TO_PURGE


def no_longer_kept() -> JobNotFound:
    return JobNotFound(
        "the job of the request that came with this idempotency key before is kept no longer: use another key to run "
        "it again",
        param="Idempotency-Key",
    )


def resolve_replay(known: KnownKey, asked: IdempotencyKey, stored: Job | None, now: datetime) -> Job | None:
    """The job to be answered again; None where the job is to be sent, under the id that the key keeps.

    `stored` is the job the key was taken for, if it is there. Raises `IdempotencyMismatch` and `RequestInFlight`, and
    `JobNotFound` for a job that is kept no longer, whether or not anybody lived to answer its request: it must not run
    again unasked.
    """
    if known.fingerprint != asked.fingerprint:
        raise IdempotencyMismatch("this idempotency key came with another body before", param="Idempotency-Key")
    if stored is None:
        if not known.is_withdrawn(now):
            raise no_longer_kept()
        return None  # under the same id a record that was sent after all makes no second job
    if known.held_until is None:
        return stored
    if known.held_until > now:
        raise RequestInFlight("the first request with this idempotency key is still being answered")
    # Whoever was answering is gone. A job still queued has perhaps never been sent; any other has.
    return None if stored.status is Status.QUEUED else stored
