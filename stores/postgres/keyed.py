"""Inserting jobs that come with idempotency keys: the job and its key are taken together, or neither is."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from schemas.errors import PenstockError, StoreUnavailable
from schemas.jobs import Job
from stores.idempotency import KnownKey, judge
from stores.postgres.inserting import INSERTED, SELECTED, in_lock_order, insert_queued
from stores.postgres.reading import find
from stores.postgres.rows import QUEUED_COLUMNS, Found, queued_columns, unnest
from stores.seams import KEY_LOCK, Admission, IdempotencyKey, JobKey

if TYPE_CHECKING:
    from stores.postgres.pool import Connection


class Keyed(NamedTuple):
    """A job to be inserted under a key."""

    job: Job
    asked: IdempotencyKey

    @property
    def place(self) -> tuple[str, str]:
        """Where the key stands, and the order in which keys are locked."""
        return self.job.tenant, self.asked.key


# A job found instead of inserted is replayed.
Answer: TypeAlias = Admission | Found | PenstockError

_TAKE: Final = f"""
with asked as (
    select * from {unnest([*QUEUED_COLUMNS.values(), "text", "bytea"], 3)} as asked ({INSERTED}, key, fingerprint)
), taken as (
    insert into idempotency_keys (tenant, key, fingerprint, job_id, created_at, locked_until)
    select tenant, key, fingerprint, id, $1, $2 from asked
    on conflict do nothing
    returning tenant, job_id as id
), inserted as (
    insert into jobs ({INSERTED}, status)
    select {SELECTED}, 'queued' from asked join taken using (tenant, id)
    on conflict do nothing
)
select tenant, id from taken
"""
_LOCK: Final = """
select k.tenant, k.key, k.fingerprint, k.job_id, k.locked_until
from unnest($1::text[], $2::text[]) as asked (tenant, key) join idempotency_keys k using (tenant, key)
order by k.tenant, k.key
for update of k
"""
_RELOCK: Final = """
update idempotency_keys k set locked_until = $3
from unnest($1::text[], $2::text[]) as asked (tenant, key)
where k.tenant = asked.tenant and k.key = asked.key
"""


async def take_keys(connection: "Connection", group: Sequence[Keyed], now: datetime) -> set[JobKey]:
    """Insert the jobs whose keys are new, with their keys, in one statement. Returns which."""
    group = sorted(group, key=lambda keyed: keyed.place)
    rows = await connection.fetch(
        _TAKE,
        now,
        now + KEY_LOCK,
        *queued_columns([keyed.job for keyed in group]),
        [keyed.asked.key for keyed in group],
        [keyed.asked.fingerprint for keyed in group],
    )
    return {JobKey(*row) for row in rows}


async def answer_known(connection: "Connection", group: Sequence[Keyed], now: datetime) -> Sequence[Answer]:
    """Answer requests whose keys stood there before. To be called within a transaction: it locks them first."""
    locked = await connection.fetch(_LOCK, *_places(keyed.place for keyed in group))
    known = {(row["tenant"], row["key"]): KnownKey(*list(row)[2:]) for row in locked}
    # A statement of its own: only one that starts under the locks sees what was committed before they were given.
    jobs = await find(connection, [JobKey(tenant, key.job_id) for (tenant, _), key in known.items()])
    turn = _Turn(known, jobs, now)
    answers = [turn.answer(keyed) for keyed in group]
    if turn.relocked:
        await connection.execute(_RELOCK, *_places(sorted(turn.relocked)), now + KEY_LOCK)
    if turn.renewed:
        await insert_queued(connection, sorted(turn.renewed, key=in_lock_order))
    return answers


class _Turn:
    """One group's look at the keys it has locked. Whoever comes first in the group changes them for the next."""

    def __init__(self, known: dict[tuple[str, str], KnownKey], jobs: dict[JobKey, Found], now: datetime) -> None:
        self._known = known
        self._jobs = jobs
        self._now = now
        self.relocked: set[tuple[str, str]] = set()
        self.renewed: list[Job] = []

    def answer(self, keyed: Keyed) -> Answer:
        known = self._known.get(keyed.place)
        if known is None:
            return StoreUnavailable("the idempotency key ran out in this moment")
        found = self._jobs.get(JobKey(keyed.job.tenant, known.job_id))
        answer = judge(known, keyed.asked, keyed.job, found.job if found else None, self._now)
        if not isinstance(answer, Admission):
            return answer
        if answer.replayed and found:
            return found
        if not found:
            self.renewed.append(answer.job)
        self._known[keyed.place] = msgspec.structs.replace(known, locked_until=self._now + KEY_LOCK)
        self._jobs[JobKey(answer.job.tenant, answer.job.id)] = Found(answer.job, lacks_result=False)
        self.relocked.add(keyed.place)
        return answer


def _places(places: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    tenants, keys = zip(*places, strict=True)
    return list(tenants), list(keys)
