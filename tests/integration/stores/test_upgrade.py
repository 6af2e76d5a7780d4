"""A database of the first release, with jobs in it, becomes one of this version under those who work over it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Protocol

import pytest

from schemas.jobs import Job, Payload, Terminal
from stores.postgres import PostgresAdmissions, PostgresJobs, PostgresPurging, PostgresResults, schema_state
from stores.postgres.migrations import Kind, Migration, known_migrations, migrate, newest_known
from stores.protocols import JobKey
from tests.conftest import database
from tests.contracts.stores.building import ended, failed, idempotency, key_of, queued
from tests.integration.stores.migrating import QUICK, fetch, session
from tests.integration.stores.old_role import APPLICATION_NAME, CONFIRM, NEWEST, OldRole, make_old_database
from tests.waiting import eventually, soon

SMALL = Payload(b'{"outputs":[]}')
LARGE = Payload(bytes(range(256)) * 1000, "application/octet-stream", 20)
# Of a version to come, so that each kind is applied to jobs, whatever this version brings.
COMING = {
    "note.sql": "alter table jobs add column note text; alter table jobs alter column note set default 'new'",
    "note_index.concurrent.sql": "create index concurrently if not exists jobs_note on jobs (note)",
    "note.backfill.sql": """
        with step as (select tenant, id from jobs where note is null order by tenant, id limit 10 for update)
        update jobs j set note = 'old' from step where j.tenant = step.tenant and j.id = step.id
    """,
    "note.contract.sql": "alter table jobs alter column note set not null",
}


def all_migrations() -> list[Migration]:
    newest = newest_known()
    coming = [
        Migration(number, f"{number:04}_{name}", f"-- needs: {newest:04}\n{sql}")
        for number, (name, sql) in enumerate(COMING.items(), newest + 1)
    ]
    return [*known_migrations(), *coming]


class Role(Protocol):
    """What an old and a new role both do."""

    async def insert(self, jobs: Sequence[Job]) -> None: ...
    async def take(self, job: Job, key: str) -> bool: ...
    async def confirm(self, job: Job, key: str) -> None: ...
    async def recall(self, tenant: str, key: str) -> str | None: ...
    async def withdraw(self, job: Job) -> None: ...
    async def finish(self, terminals: Sequence[Terminal]) -> list[JobKey]: ...
    async def mark_running(self, keys: Sequence[JobKey]) -> None: ...
    async def cancel(self, key: JobKey) -> None: ...
    async def statuses(self, keys: Sequence[JobKey]) -> Mapping[JobKey, str]: ...
    async def result(self, key: JobKey) -> Payload | None: ...
    async def newest(self, tenant: str, limit: int) -> list[str]: ...
    async def overdue(self) -> list[str]: ...
    async def purge(self) -> None: ...


class NewRole:
    """The stores of this version."""

    def __init__(
        self, admissions: PostgresAdmissions, jobs: PostgresJobs, results: PostgresResults, purging: PostgresPurging
    ) -> None:
        self._admissions = admissions
        self._jobs = jobs
        self._results = results
        self._purging = purging

    async def insert(self, jobs: Sequence[Job]) -> None:
        await asyncio.gather(*(self._admissions.insert(job) for job in jobs))

    async def take(self, job: Job, key: str) -> bool:
        admission = await self._admissions.insert(job, idempotency(key))
        return not admission.replayed

    async def confirm(self, job: Job, key: str) -> None:
        await self._admissions.confirm(job, idempotency(key))

    async def recall(self, tenant: str, key: str) -> str | None:
        job = await self._admissions.recall(tenant, idempotency(key))
        return None if job is None else job.id

    async def withdraw(self, job: Job) -> None:
        await self._admissions.withdraw(job)

    async def finish(self, terminals: Sequence[Terminal]) -> list[JobKey]:
        return list(await self._results.finish(terminals))

    async def mark_running(self, keys: Sequence[JobKey]) -> None:
        await self._results.mark_running(keys, datetime.now(UTC))

    async def cancel(self, key: JobKey) -> None:
        await self._jobs.cancel(key, datetime.now(UTC))

    async def statuses(self, keys: Sequence[JobKey]) -> Mapping[JobKey, str]:
        found = await asyncio.gather(*(self._jobs.get(key) for key in keys))
        return {key_of(job): str(job.status) for job in found if job is not None}

    async def result(self, key: JobKey) -> Payload | None:
        job = await self._jobs.get(key)
        assert job is not None
        return job.result

    async def newest(self, tenant: str, limit: int) -> list[str]:
        return [job.id for job in await self._jobs.list(tenant, after=None, limit=limit, status=None)]

    async def overdue(self) -> list[str]:
        return [job.id for job in await self._results.overdue(datetime.now(UTC), 1000)]

    async def purge(self) -> None:
        async for purged in self._purging.purge(datetime.now(UTC)):
            assert purged.failure is None


@asynccontextmanager
async def old_role(dsn: str) -> AsyncIterator[OldRole]:
    async with session(dsn, APPLICATION_NAME) as connection:
        yield OldRole(connection)


@asynccontextmanager
async def new_role(dsn: str) -> AsyncIterator[NewRole]:
    async with (
        PostgresAdmissions(dsn, role="gateway") as admissions,
        PostgresJobs(dsn, role="gateway") as jobs,
        PostgresResults(dsn, role="sink", retention=KEPT) as results,
    ):
        yield NewRole(admissions, jobs, results, PostgresPurging(dsn, KEPT))


# The jobs here ended long ago.
KEPT = timedelta(days=3650)


class Book:
    """What was told to clients: which jobs are there, and how each stands."""

    def __init__(self) -> None:
        self._numbers = count()
        self.statuses: dict[JobKey, str] = {}
        self.large: set[JobKey] = set()

    async def round(self, first: Role, second: Role) -> None:
        """Jobs of every fate: the two roles take turns with each."""
        now = datetime.now(UTC)
        tenant = f"tenant-{next(self._numbers)}"
        made = [queued(tenant=tenant, created_at=now, expires_at=now + timedelta(hours=1)) for _ in range(8)]
        direct = queued(tenant=tenant, id=f"requests-0-{next(self._numbers)}", created_at=now, expires_at=now)
        jobs = [*made, direct]
        keys = [key_of(job) for job in jobs]
        await first.insert([*jobs[:6], direct])
        assert await second.statuses(keys) == dict.fromkeys([*keys[:6], keys[8]], "queued")
        await second.mark_running(keys[:2])
        await self._end(jobs, first, second)
        await second.withdraw(jobs[4])
        await self._under_a_key(jobs[6], jobs[7], first, second)
        expected = dict(
            zip(keys, ["succeeded", "failed", "canceled", "succeeded", None, "queued", "queued"], strict=False)
        )
        there = {key: status for key, status in expected.items() if status} | {keys[8]: "queued"}
        for role in (first, second):
            assert await role.statuses(keys) == there
            assert sorted(await role.newest(tenant, 100)) == sorted(key.id for key in there)
            assert direct.id in await role.overdue()
            await role.purge()
        self.statuses |= there
        self.large.add(keys[3])

    async def _end(self, jobs: Sequence[Job], first: Role, second: Role) -> None:
        """The first end of a job counts, whoever brings it and whoever brings another."""
        one, two, three, four = jobs[:4]
        now = datetime.now(UTC)  # what ended long ago is kept no longer
        brought = [ended(one, completed_at=now), failed(two, completed_at=now)]
        assert sorted(await second.finish(brought)) == sorted([key_of(one), key_of(two)])
        await first.cancel(key_of(three))
        large = [ended(four, result=LARGE, completed_at=now)]
        won = await asyncio.gather(first.finish(large), second.finish(large))
        assert sorted(map(len, won)) == [0, 1]
        assert await first.finish([failed(one), ended(two), ended(three), failed(four)]) == []
        for role in (first, second):
            assert await role.result(key_of(one)) == SMALL
            assert await role.result(key_of(four)) == LARGE

    async def _under_a_key(self, job: Job, other: Job, first: Role, second: Role) -> None:
        key = f"key of {job.id}"
        assert await first.take(job, key)
        await first.confirm(job, key)
        assert not await second.take(other, key)
        assert await second.recall(job.tenant, key) == job.id

    async def check(self, role: Role) -> None:
        """Nothing is lost, nothing is there twice, and nothing has changed."""
        keys = list(self.statuses)
        assert await role.statuses(keys) == self.statuses
        for key in self.large:
            assert await role.result(key) == LARGE


@asynccontextmanager
async def traffic(book: Book, first: Role, second: Role) -> AsyncIterator[None]:
    """As long as the block lasts, and one round at least."""
    stop = asyncio.Event()

    async def work() -> None:
        await book.round(first, second)
        while not stop.is_set():
            await book.round(first, second)

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        yield
        stop.set()


async def test_old_and_new_roles_work_side_by_side_until_the_upgrade_is_through(fresh_postgres_dsn: str) -> None:
    dsn = fresh_postgres_dsn
    await make_old_database(dsn)
    book = Book()
    migrations = all_migrations()
    contractions = [migration for migration in migrations if migration.kind is Kind.CONTRACT]
    async with AsyncExitStack() as stack:
        async with old_role(dsn) as old, old_role(dsn) as other:
            for _ in range(10):
                await book.round(old, other)
            async with traffic(book, old, other):
                told: list[str] = []
                applied = await migrate(dsn, migrations=migrations, pace=QUICK, told=told.append)
            assert applied == [one for one in migrations[NEWEST:] if one not in contractions]
            assert [line for line in told if "a role of an older version at 127.0.0.1" in line]
            new = await stack.enter_async_context(new_role(dsn))
            await book.round(old, new)
            await book.round(new, old)
            await book.round(new, new)
            await book.check(old)
            await book.check(new)
        await eventually(lambda: nobody_old(dsn))
        async with traffic(book, new, new):
            assert await migrate(dsn, migrations=migrations, pace=QUICK) == contractions
        await book.round(new, new)
        await book.check(new)
    state = await schema_state(dsn)
    assert (state.trouble, list(state.unfinished)) == (None, [])
    assert await fetch(dsn, "select count(*), count(distinct (tenant, id)) from jobs") == [
        (len(book.statuses), len(book.statuses))
    ]


async def test_what_an_old_gateway_has_withdrawn_a_new_one_sends(fresh_postgres_dsn: str) -> None:
    await make_old_database(fresh_postgres_dsn)
    async with old_role(fresh_postgres_dsn) as old:
        await migrate(fresh_postgres_dsn, migrations=all_migrations(), pace=QUICK)
        job = queued()
        assert await old.take(job, "key")
        await old.withdraw(job)
        async with new_role(fresh_postgres_dsn) as new:
            assert await new.take(queued(), "key")
            assert await new.statuses([key_of(job)]) == {key_of(job): "queued"}


async def test_an_old_gateway_writes_the_row_of_what_it_sent_though_a_new_one_has_withdrawn_it(
    migrated_postgres_dsn: str,
) -> None:
    job = queued()
    async with PostgresAdmissions(migrated_postgres_dsn) as admissions:
        await admissions.insert(job, idempotency())
        await admissions.withdraw(job, idempotency())
    async with session(migrated_postgres_dsn) as old:
        to_write = await old.fetch(CONFIRM, [job.tenant], [idempotency().key], [job.id])
    assert [JobKey(*row) for row in to_write] == [key_of(job)]


async def nobody_old(dsn: str) -> bool:
    return not [role for role in (await schema_state(dsn)).roles if role.newest < newest_known()]


@pytest.fixture
async def another_postgres_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    async with database(postgres_dsn) as dsn:
        yield dsn


async def test_contractions_that_come_late_make_the_same_schema(
    fresh_postgres_dsn: str, another_postgres_dsn: str
) -> None:
    migrations = all_migrations()
    await migrate(fresh_postgres_dsn, migrations=migrations, pace=QUICK)
    await make_old_database(another_postgres_dsn)
    async with session(another_postgres_dsn, APPLICATION_NAME):
        await migrate(another_postgres_dsn, migrations=migrations, pace=QUICK)
    await eventually(lambda: nobody_old(another_postgres_dsn))
    assert await soon(migrate(another_postgres_dsn, migrations=migrations, pace=QUICK))
    assert await schema_of(another_postgres_dsn) == await schema_of(fresh_postgres_dsn)


async def schema_of(dsn: str) -> Sequence[Any]:
    """Tables with their columns, constraints, indexes and triggers."""
    return [
        *await fetch(
            dsn,
            "select table_name, column_name, data_type, collation_name, is_nullable, column_default "
            "from information_schema.columns where table_schema = 'public' order by 1, 2",
        ),
        *await fetch(dsn, "select indexname, indexdef from pg_indexes where schemaname = 'public' order by 1"),
        *await fetch(
            dsn,
            "select conrelid::regclass::text, conname, "
            "regexp_replace(pg_get_constraintdef(oid), 'job_[0-9a-f]{12}', 'job_<when the ring began>') "
            "from pg_constraint "
            "where connamespace = 'public'::regnamespace order by 1, 2",
        ),
        *await fetch(dsn, "select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1"),
    ]
