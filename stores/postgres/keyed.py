"""What becomes of idempotency keys that are there already. The jobs they bring with them are for others to write."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from runtime.clock import Clock
from schemas.errors import PenstockError, StoreUnavailable
from schemas.jobs import Job
from stores.postgres.places import Places
from stores.postgres.rows import StoredJob, find, key_columns
from stores.protocols import Admission, IdempotencyKey, JobKey
from stores.replays import KEY_LEASE, WITHDRAWN, KnownKey, resolve_replay
from stores.retention import may_be_purged

if TYPE_CHECKING:
    import asyncpg

    from stores.postgres.calls import Connection


class KeyedJob(NamedTuple):
    """A job that is asked for under a key. Its id says who holds the key, too: no two requests ask for the same."""

    job: Job
    asked: IdempotencyKey

    @property
    def place(self) -> tuple[str, str]:
        """Where the key stands, and the order in which keys are locked."""
        return self.job.tenant, self.asked.key


# A job found instead of inserted is replayed.
Answer: TypeAlias = Admission | StoredJob | PenstockError

_KNOWN: Final = "k.tenant, k.key, k.fingerprint, k.job_id, k.created_at, k.locked_until, k.holder"
_RECALL: Final = f"select {_KNOWN} from idempotency_keys k where k.tenant = $1 and k.key = $2"
_LOCK: Final = f"""
select {_KNOWN}
from unnest($1::text[], $2::text[]) as asked (tenant, key) join idempotency_keys k using (tenant, key)
order by k.tenant, k.key
for update of k
"""
_TAKE_OVER: Final = """
update idempotency_keys k set locked_until = $4, holder = asked.holder
from unnest($1::text[], $2::text[], $3::text[]) as asked (tenant, key, holder)
where k.tenant = asked.tenant and k.key = asked.key
"""
_HELD: Final = """
select k.tenant, k.key, k.job_id
from unnest($1::text[], $2::text[], $3::text[]) as asked (tenant, key, holder)
join idempotency_keys k using (tenant, key, holder)
order by k.tenant, k.key
for update of k
"""
_RENEW: Final = f"""
with held as ({_HELD})
update idempotency_keys k set locked_until = $4 from held where k.tenant = held.tenant and k.key = held.key
"""
_LET_GO: Final = f"""
update idempotency_keys k set holder = '{WITHDRAWN}'
from unnest($1::text[], $2::text[]) as held (tenant, key), unnest($3::text[], $4::text[]) as withdrawn (tenant, id)
where k.tenant = held.tenant and k.key = held.key and k.tenant = withdrawn.tenant and k.job_id = withdrawn.id
"""
# Nearly always whoever took the key first is who answers. Where another took it over, it may have withdrawn the job.
_CONFIRM: Final = """
with answered as (
    select k.tenant, k.key, k.job_id, k.holder, k.locked_until
    from unnest($1::text[], $2::text[], $3::text[]) as asked (tenant, key, job_id)
    join idempotency_keys k using (tenant, key, job_id)
    order by k.tenant, k.key
    for update of k
), released as (
    update idempotency_keys k set locked_until = null, holder = null
    from answered where k.tenant = answered.tenant and k.key = answered.key
)
select tenant, job_id from answered where locked_until is not null and holder <> job_id
"""


async def answer_known(
    connection: "Connection", places: Places, group: Sequence[KeyedJob], clock: Clock
) -> tuple[Sequence[Answer], Sequence[Job]]:
    """Answer requests whose keys stood there before, and say which jobs are to be written again.

    To be called within a transaction: it locks the keys first.
    """
    tenants, keys, _ = _columns(group)
    locked = await connection.fetch(_LOCK, tenants, keys)
    known = {(row["tenant"], row["key"]): _known_key(row) for row in locked}
    # A statement of its own: only one that starts under the locks sees what was committed before they were given.
    jobs = await find(connection, places, [JobKey(tenant, key.job_id) for (tenant, _), key in known.items()])
    now = clock()  # behind the locks, which may have taken long
    keys_locked = LockedKeys(known, jobs, now)
    answers = [keys_locked.answer(keyed) for keyed in group]
    if taken_over := sorted(keys_locked.taken_over.values(), key=lambda keyed: keyed.place):
        await connection.execute(_TAKE_OVER, *_columns(taken_over), now + KEY_LEASE)
    return answers, keys_locked.renewed


async def recall(
    connection: "Connection", places: Places, tenant: str, asked: IdempotencyKey, now: datetime
) -> StoredJob | None:
    """The job that was answered under this key before, without locking anything."""
    row = await connection.fetchrow(_RECALL, tenant, asked.key)
    if row is None:
        return None
    known = _known_key(row)
    key = JobKey(tenant, known.job_id)
    stored = (await find(connection, places, [key])).get(key)
    return stored if resolve_replay(known, asked, stored.job if stored else None, now) else None


async def renew(connection: "Connection", group: Sequence[KeyedJob], now: datetime) -> None:
    """Prolong the leases of those keys that are still held for these jobs."""
    await connection.execute(_RENEW, *_columns(group), now + KEY_LEASE)


async def confirm(connection: "Connection", group: Sequence[KeyedJob], clock: Clock) -> Sequence[Job]:
    """Release the keys that were answered with these jobs. Returns those jobs that others may have withdrawn, and that
    cannot have ended and been purged."""
    perhaps_withdrawn = {JobKey(*row) for row in await connection.fetch(_CONFIRM, *_columns(group))}
    jobs = {JobKey(keyed.job.tenant, keyed.job.id): keyed.job for keyed in group}
    now = clock()
    return [jobs[key] for key in sorted(perhaps_withdrawn) if not may_be_purged(jobs[key], now)]


async def held_jobs(connection: "Connection", group: Sequence[KeyedJob]) -> list[JobKey]:
    """Lock the keys that are still held for these jobs. Returns the jobs that the keys stand for."""
    return [JobKey(row["tenant"], row["job_id"]) for row in await connection.fetch(_HELD, *_columns(group))]


async def let_go(connection: "Connection", withdrawn: Iterable[JobKey], group: Sequence[KeyedJob]) -> None:
    """Mark those keys of the group as withdrawn that stand for one of these jobs."""
    tenants, keys, _ = _columns(group)
    await connection.execute(_LET_GO, tenants, keys, *key_columns(withdrawn))


class LockedKeys:
    """One group's look at the keys it has locked. Whoever comes first in the group changes them for the next."""

    def __init__(self, known: dict[tuple[str, str], KnownKey], jobs: dict[JobKey, StoredJob], now: datetime) -> None:
        self._known = known
        self._jobs = jobs
        self._now = now
        self.taken_over: dict[tuple[str, str], KeyedJob] = {}
        self.renewed: list[Job] = []

    def answer(self, keyed: KeyedJob) -> Answer:
        known = self._known.get(keyed.place)
        if known is None:
            return StoreUnavailable("the idempotency key ran out in this moment")
        key = JobKey(keyed.job.tenant, known.job_id)
        stored = self._jobs.get(key)
        try:
            replay = resolve_replay(known, keyed.asked, stored.job if stored else None, self._now)
        except PenstockError as refusal:
            return refusal
        if stored and replay:
            return stored
        job = stored.job if stored else msgspec.structs.replace(keyed.job, id=known.job_id)
        if not stored:
            self.renewed.append(job)
        self._known[keyed.place] = msgspec.structs.replace(known, held_until=self._now + KEY_LEASE, holder=keyed.job.id)
        self._jobs[key] = StoredJob(job, lacks_result=False)
        self.taken_over[keyed.place] = keyed
        return Admission(job, replayed=False)


def _known_key(row: "asyncpg.Record") -> KnownKey:
    return KnownKey(row["fingerprint"], row["job_id"], row["created_at"], row["locked_until"], row["holder"])


def _columns(group: Iterable[KeyedJob]) -> tuple[list[str], list[str], list[str]]:
    """The arrays of tenants, keys, and ids of the jobs."""
    rows = [(keyed.job.tenant, keyed.asked.key, keyed.job.id) for keyed in group]
    tenants, keys, ids = (list(column) for column in zip(*rows, strict=True))
    return tenants, keys, ids
