"""What a request with a known idempotency key gets. Pure: the stores look up, this decides."""

from datetime import datetime

import msgspec

from schemas.errors import IdempotencyMismatch, RequestInFlight
from schemas.jobs import Job, Status
from stores.seams import Admission, IdempotencyKey


class KnownKey(msgspec.Struct, frozen=True):
    """A key as the store holds it. `locked_until` is None once its first request has been answered."""

    fingerprint: bytes
    job_id: str
    locked_until: datetime | None


def judge(
    known: KnownKey, asked: IdempotencyKey, job: Job, stored: Job | None, now: datetime
) -> Admission | IdempotencyMismatch | RequestInFlight:
    """The answer to `job` under a key that was taken before; `stored` is the job it was taken for, if it is there.

    An admission that is not replayed is to be locked anew, and its job written if `stored` is None.
    """
    if known.fingerprint != asked.fingerprint:
        return IdempotencyMismatch("this idempotency key came with another body before", param="Idempotency-Key")
    if stored is None:  # withdrawn: the same id, so that a record that was sent after all makes no second job
        return Admission(msgspec.structs.replace(job, id=known.job_id), replayed=False)
    if known.locked_until is None:
        return Admission(stored, replayed=True)
    if known.locked_until > now:
        return RequestInFlight("the first request with this idempotency key is still being answered")
    # Whoever was answering is gone. A job still queued has perhaps never been sent; any other has.
    return Admission(stored, replayed=stored.status is not Status.QUEUED)
