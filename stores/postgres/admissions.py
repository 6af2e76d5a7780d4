"""Where accepted jobs are written down."""

from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from runtime.clock import Clock, now_utc
from schemas.errors import PenstockError, StoreUnavailable
from schemas.jobs import Job
from stores.grouping import Grouping
from stores.postgres.batches import write_batch
from stores.postgres.keyed import Answer, KeyedJob, answer_known, confirm, held_jobs, recall, renew, take_keys
from stores.postgres.lanes import Lanes
from stores.postgres.pool import Postgres
from stores.postgres.rows import (
    FIND,
    INSERT_QUEUED,
    MORE_LANES_AFTER,
    StoredJob,
    by_key,
    in_lock_order,
    insert_queued,
    key_columns,
    queued_json,
    with_result,
)
from stores.protocols import Admission, IdempotencyKey, JobKey
from stores.validation import check_key

_WITHDRAW: Final = """
with queued as (
    select j.tenant, j.id
    from unnest($1::text[], $2::text[]) as k (tenant, id) join jobs j using (tenant, id)
    where j.status = 'queued'
    order by j.tenant, j.id
    for update of j
)
delete from jobs j using queued where j.tenant = queued.tenant and j.id = queued.id
"""


class PostgresAdmissions:
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
    ) -> None:
        self._inserting = Lanes(dsn, lanes=insert_connections, timeout_s=timeout_s)
        self._others = Postgres(dsn, connections=other_connections, timeout_s=timeout_s)
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
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for pool in (self._inserting, self._others):
                await opening.enter_async_context(pool)
            for calls in (self._inserts, self._keyed_inserts, self._renewals, self._confirms, self._withdrawals):
                await opening.enter_async_context(calls)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    def insert(self, job: Job, idempotency: IdempotencyKey | None = None) -> Awaitable[Admission]:
        if idempotency is None:
            return self._inserts.ask(job)
        return self._keyed_inserts.ask(KeyedJob(job, idempotency))

    async def insert_new(self, jobs: Sequence[Job]) -> None:
        in_order = sorted(jobs, key=in_lock_order)
        await write_batch(self._others, in_order, insert_queued)

    async def recall(self, tenant: str, idempotency: IdempotencyKey) -> Job | None:
        check_key(idempotency)
        async with self._others.connection() as connection:
            stored = await recall(connection, tenant, idempotency, self._clock())
        return None if stored is None else await with_result(self._others, stored)

    async def renew(self, job: Job, idempotency: IdempotencyKey) -> None:
        await self._renewals.ask(KeyedJob(job, idempotency))

    async def confirm(self, job: Job, idempotency: IdempotencyKey) -> None:
        await self._confirms.ask(KeyedJob(job, idempotency))

    async def withdraw(self, job: Job, idempotency: IdempotencyKey | None = None) -> None:
        await self._withdrawals.ask((job, idempotency))

    async def _insert_group(self, jobs: Sequence[Job]) -> Sequence[Admission | PenstockError]:
        rows = await self._inserting.fetch(INSERT_QUEUED, queued_json(sorted(jobs, key=in_lock_order)))
        if len(rows) == len(jobs):
            return [Admission(job, replayed=False) for job in jobs]  # nearly always
        inserted = {JobKey(*row) for row in rows}
        found = by_key(await self._inserting.fetch(FIND, *key_columns({JobKey(job.tenant, job.id) for job in jobs})))
        answers: list[Answer] = []
        for job in jobs:
            key = JobKey(job.tenant, job.id)
            if key in inserted:
                inserted.remove(key)  # the same job asked for twice at once is inserted once
                answers.append(Admission(job, replayed=False))
            else:
                answers.append(found.get(key) or StoreUnavailable("the job was withdrawn in this moment"))
        return await self._whole(answers)

    async def _insert_keyed_group(self, group: Sequence[KeyedJob]) -> Sequence[Admission | PenstockError]:
        async with self._others.connection() as connection:
            taken = await take_keys(connection, group, self._clock())  # once there is a connection: leases are short
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
                whole.append(Admission(await with_result(self._others, answer), replayed=True))
            else:
                whole.append(answer)
        return whole

    async def _answer_known(self, group: Sequence[KeyedJob]) -> Sequence[Answer]:
        """What goes wrong here is these requests' alone: the keys taken a moment ago are taken."""
        try:
            async with self._others.transaction() as connection:
                return await answer_known(connection, group, self._clock)
        except PenstockError as error:
            return [error] * len(group)

    async def _renew_group(self, group: Sequence[KeyedJob]) -> Sequence[None]:
        async with self._others.connection() as connection:
            await renew(connection, group, self._clock())
        return [None] * len(group)

    async def _confirm_group(self, group: Sequence[KeyedJob]) -> Sequence[None]:
        async with self._others.connection() as connection:
            await confirm(connection, group)
        return [None] * len(group)

    async def _withdraw_group(self, group: Sequence[tuple[Job, IdempotencyKey | None]]) -> Sequence[None]:
        """Insert again, then delete: an insert that is still under way elsewhere is waited for, not missed."""
        plain = [job for job, key in group if key is None]
        keyed = [KeyedJob(job, key) for job, key in group if key is not None]
        async with self._others.transaction() as connection:
            withdrawn = [JobKey(job.tenant, job.id) for job in plain]
            if keyed:
                await take_keys(connection, keyed, self._clock())
                withdrawn += await held_jobs(connection, keyed)
            if plain:
                await insert_queued(connection, sorted(plain, key=in_lock_order))
            await connection.execute(_WITHDRAW, *key_columns(withdrawn))
        return [None] * len(group)
