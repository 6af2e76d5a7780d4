"""Where accepted jobs are written down, with their idempotency keys."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from runtime.clock import Clock, now_utc
from schemas.errors import JobNotFound, PenstockError, StoreUnavailable
from schemas.jobs import Job
from stores.postgres.calls import MORE_LANES_AFTER, Grouping, Postgres
from stores.postgres.keyed import Answer, KeyedJob, answer_known, confirm, held_jobs, let_go, recall, renew
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import Parts
from stores.postgres.places import Places, in_each_place
from stores.postgres.queued_rows import in_lock_order, keyed_json, queued_json, statements_for
from stores.postgres.rows import (
    StoredJob,
    find,
    key_columns,
    with_result,
    write_batch,
)
from stores.protocols import Admission, IdempotencyKey, JobKey
from stores.replays import KEY_LEASE, no_longer_kept
from stores.validation import check_key, storable

if TYPE_CHECKING:
    import asyncpg

    from stores.postgres.calls import Connection

_WITHDRAW: Final = in_each_place("""
with queued as (
    select j.tenant, j.id
    from unnest($1::text[], $2::text[]) as k (tenant, id) join {jobs} j using (tenant, id)
    where j.status = 'queued'
    order by j.tenant, j.id
    for update of j
)
delete from {jobs} j using queued where j.tenant = queued.tenant and j.id = queued.id
returning j.tenant, j.id
""")


class PostgresAdmissions(Parts):
    """`Admissions` on Postgres. Use as `async with`.

    `insert_connections` serve jobs without idempotency keys and nothing else, the second one when many wait;
    `other_connections` all the rest.
    `timeout_s` bounds each wait for a connection and each statement.
    """

    def __init__(
        self,
        dsn: str,
        *,
        insert_connections: int = 2,
        other_connections: int = 3,
        timeout_s: float = 5.0,
        clock: Clock = now_utc,
        role: str = CLIENT,
    ) -> None:
        self._inserting = Postgres(
            dsn, connections=insert_connections, timeout_s=timeout_s, role=role, only_inserts=True
        )
        self._others = Postgres(dsn, connections=other_connections, timeout_s=timeout_s, role=role)
        self._places = Places(self._others)
        self._clock = clock
        self._inserts: Grouping[Job, Admission] = Grouping(
            self._insert_group,
            lanes=insert_connections,
            more_lanes_after=MORE_LANES_AFTER,
            longest_wait_s=timeout_s,
        )
        self._keyed_inserts: Grouping[KeyedJob, Admission] = Grouping(
            self._insert_keyed_group, lanes=2, longest_wait_s=timeout_s
        )
        self._renewals = Grouping(self._renew_group, lanes=1, longest_wait_s=timeout_s)
        self._confirms = Grouping(self._confirm_group, lanes=1, longest_wait_s=timeout_s)
        self._withdrawals = Grouping(self._withdraw_group, lanes=1, longest_wait_s=timeout_s)
        super().__init__(
            self._inserting,
            self._others,
            self._places,
            self._inserts,
            self._keyed_inserts,
            self._renewals,
            self._confirms,
            self._withdrawals,
        )

    def insert(self, job: Job, idempotency: IdempotencyKey | None = None) -> Awaitable[Admission]:
        if idempotency is None:
            return self._inserts.ask(job)
        return self._keyed_inserts.ask(KeyedJob(job, idempotency))

    async def insert_new(self, jobs: Sequence[Job]) -> None:
        placed = self._places.grouped(sorted(jobs, key=in_lock_order))
        await write_batch(self._others, placed, insert_queued)

    async def recall(self, tenant: str, idempotency: IdempotencyKey) -> Job | None:
        check_key(idempotency)
        async with self._others.connection() as connection:
            stored = await recall(connection, self._places, tenant, idempotency, self._clock())
        return None if stored is None else await self._replayed(stored)

    async def admitted(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        found = await find(self._others, self._places, [key for key in keys if storable(*key)])
        return {key: stored.job for key, stored in found.items()}

    async def renew(self, job: Job, idempotency: IdempotencyKey) -> None:
        await self._renewals.ask(KeyedJob(job, idempotency))

    async def confirm(self, job: Job, idempotency: IdempotencyKey) -> None:
        await self._confirms.ask(KeyedJob(job, idempotency))

    async def withdraw(self, job: Job, idempotency: IdempotencyKey | None = None) -> None:
        await self._withdrawals.ask((job, idempotency))

    async def _insert_group(self, jobs: Sequence[Job]) -> Sequence[Admission | PenstockError]:
        rows = await self._insert_rows(self._places.grouped(jobs))
        if len(rows) == len(jobs):
            return [Admission(job, replayed=False) for job in jobs]  # nearly always
        inserted = {JobKey(*row) for row in rows}
        found = await find(self._others, self._places, list({JobKey(job.tenant, job.id) for job in jobs}))
        answers: list[Answer] = []
        for job in jobs:
            key = JobKey(job.tenant, job.id)
            if key in inserted:
                inserted.remove(key)  # the same job asked for twice at once is inserted once
                answers.append(Admission(job, replayed=False))
            else:
                answers.append(found.get(key) or StoreUnavailable("the job was withdrawn in this moment"))
        return await self._whole(answers)

    async def _insert_rows(self, placed: Sequence[tuple[int, Sequence[Job]]]) -> "Sequence[asyncpg.Record]":
        """The keys of those that are new. All of them are written or none is."""
        if len(placed) == 1:
            ((place, jobs),) = placed
            return await self._inserting.fetch(statements_for(jobs).insert[place], queued_json(jobs))
        async with self._inserting.transaction() as connection:
            return [
                row
                for place, jobs in placed
                for row in await connection.fetch(statements_for(jobs).insert[place], queued_json(jobs))
            ]

    async def _insert_keyed_group(self, group: Sequence[KeyedJob]) -> Sequence[Admission | PenstockError]:
        async with self._others.connection() as connection:
            taken = await take_keys(
                connection, self._places, group, self._clock()
            )  # once there is a connection: leases are short
        answers: dict[int, Answer] = {}
        for number, keyed in enumerate(group):
            key = JobKey(keyed.job.tenant, keyed.job.id)
            if key in taken:
                taken.remove(key)
                answers[number] = Admission(keyed.job, replayed=False)
        rest = [number for number in range(len(group)) if number not in answers]
        if rest:
            answers.update(zip(rest, await self._answer_known([group[number] for number in rest]), strict=True))
        return await self._whole([answers[number] for number in range(len(group))])

    async def _whole(self, answers: Sequence[Answer]) -> Sequence[Admission | PenstockError]:
        """The answers, with jobs that were found instead of inserted as replays."""
        whole: list[Admission | PenstockError] = []
        for answer in answers:
            if isinstance(answer, StoredJob):
                whole.append(await self._replay(answer))
            else:
                whole.append(answer)
        return whole

    async def _replay(self, stored: StoredJob) -> Admission | PenstockError:
        try:
            return Admission(await self._replayed(stored), replayed=True)
        except JobNotFound as error:
            return error

    async def _replayed(self, stored: StoredJob) -> Job:
        job = await with_result(self._others, self._places, stored)
        if job is None:
            raise no_longer_kept()
        return job

    async def _answer_known(self, group: Sequence[KeyedJob]) -> Sequence[Answer]:
        """What goes wrong here is these requests' alone: the keys taken a moment ago are taken."""
        try:
            async with self._others.transaction() as connection:
                answers, renewed = await answer_known(connection, self._places, group, self._clock)
                await self._insert_all(connection, renewed)
                return answers
        except PenstockError as error:
            return [error] * len(group)

    async def _renew_group(self, group: Sequence[KeyedJob]) -> Sequence[None]:
        async with self._others.connection() as connection:
            await renew(connection, group, self._clock())
        return [None] * len(group)

    async def _confirm_group(self, group: Sequence[KeyedJob]) -> Sequence[None]:
        async with self._others.connection() as connection:
            await self._insert_all(connection, await confirm(connection, group, self._clock))
        return [None] * len(group)

    async def _withdraw_group(self, group: Sequence[tuple[Job, IdempotencyKey | None]]) -> Sequence[None]:
        """Insert again, then delete: an insert that is still under way elsewhere is waited for, not missed."""
        plain = [job for job, key in group if key is None]
        keyed = [KeyedJob(job, key) for job, key in group if key is not None]
        async with self._others.transaction() as connection:
            withdrawn = [JobKey(job.tenant, job.id) for job in plain]
            if keyed:
                await take_keys(connection, self._places, keyed, self._clock())
                withdrawn += await held_jobs(connection, keyed)
            await self._insert_all(connection, plain)
            gone = [
                JobKey(*row)
                for place, keys in self._places.grouped(withdrawn)
                for row in await connection.fetch(_WITHDRAW[place], *key_columns(keys))
            ]
            if keyed:
                await let_go(connection, gone, keyed)
        return [None] * len(group)

    async def _insert_all(self, connection: "Connection", jobs: Sequence[Job]) -> None:
        for place, some in self._places.grouped(jobs):
            await insert_queued(connection, place, some)


async def insert_queued(connection: "Connection", place: int, jobs: Sequence[Job]) -> set[JobKey]:
    """Write those of a place's jobs that are new. Returns which.

    Waits for an insert of the same job that is still under way elsewhere.
    """
    rows = await connection.fetch(statements_for(jobs).insert[place], queued_json(jobs))
    return {JobKey(*row) for row in rows}


async def take_keys(connection: "Connection", places: Places, group: Sequence[KeyedJob], now: datetime) -> set[JobKey]:
    """Insert the jobs whose keys are new, with their keys: nearly always in one statement. Returns which."""
    for keyed in group:
        check_key(keyed.asked)
    group = sorted(group, key=lambda keyed: keyed.place)
    jobs = [keyed.job for keyed in group]
    arguments, statements = (now, now + KEY_LEASE, keyed_json(group)), statements_for(jobs)
    placed = places.grouped(jobs)
    if len(placed) == 1:
        return {JobKey(*row) for row in await connection.fetch(statements.take[placed[0][0]], *arguments)}
    async with connection.transaction():
        taken = {JobKey(*row) for row in await connection.fetch(statements.take_keys, *arguments)}
        for place, jobs in placed:
            if new := [job for job in jobs if JobKey(job.tenant, job.id) in taken]:
                await insert_queued(connection, place, new)
    return taken
