"""Postgres may restart or hang: calls fail in time, and work again without anything being reopened."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack
from runtime.clock import now_utc
from schemas.errors import InvalidInput, RequestInFlight, StoreUnavailable
from stores.postgres import PostgresAdmissions, PostgresJobs, PostgresPurging, PostgresResults, migrate
from stores.postgres.admissions import insert_queued, take_keys
from stores.postgres.calls import Postgres
from stores.postgres.keyed import KeyedJob
from stores.postgres.places import Places
from stores.protocols import IdempotencyKey
from stores.retention import DEFAULT_RETENTION
from tests.contracts.stores.building import NOW, Clock, ended, idempotency, key_of, queued
from tests.integration.stores.gate import Gate
from tests.waiting import eventually, soon
from workers.sink.chores import purge_once


@pytest.fixture
async def gate(migrated_postgres_dsn: str) -> AsyncIterator[Gate]:
    async with Gate(migrated_postgres_dsn) as gate:
        yield gate


async def works(call: Callable[[], Awaitable[object]]) -> bool:
    try:
        await call()
    except StoreUnavailable:
        return False
    return True


async def test_every_call_says_that_the_store_is_away_and_works_when_it_is_back(gate: Gate) -> None:
    job = queued()
    async with (
        PostgresAdmissions(gate.url) as admissions,
        PostgresJobs(gate.url) as jobs,
        PostgresResults(gate.url) as endings,
    ):
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: admissions.insert(queued()),
            lambda: admissions.insert(queued(), idempotency(queued().id)),
            lambda: admissions.insert_new([queued()]),
            lambda: admissions.confirm(job, idempotency()),
            lambda: admissions.renew(job, idempotency()),
            lambda: admissions.recall("default", idempotency()),
            lambda: admissions.withdraw(job),
            lambda: admissions.withdraw(job, idempotency()),
            lambda: jobs.get(key_of(job)),
            lambda: jobs.list("default", after=None, limit=10, status=None),
            lambda: jobs.cancel(key_of(job), NOW),
            lambda: endings.finish([ended(job)]),
            lambda: endings.mark_running([key_of(job)], NOW),
            lambda: endings.overdue(NOW, 10),
            lambda: purge_once(PostgresPurging(gate.url, DEFAULT_RETENTION, timeout_s=5), now_utc),
        ]
        await gate.shut()
        for call in calls:
            with pytest.raises(StoreUnavailable) as raised:
                await call()
            assert raised.value.__cause__ is not None
            assert "127.0.0.1" not in raised.value.message
        await gate.open()
        for call in calls:
            await call()


async def test_a_store_that_hangs_is_given_up_in_time_and_works_when_it_moves_again(gate: Gate) -> None:
    async with PostgresAdmissions(gate.url, timeout_s=0.4) as admissions, PostgresJobs(gate.url, timeout_s=0.4) as jobs:
        job = (await admissions.insert(queued())).job
        gate.hold()
        calls = asyncio.gather(
            *(admissions.insert(queued()) for _ in range(100)),
            *(admissions.insert(queued(), idempotency(str(number))) for number in range(100)),
            *(jobs.get(key_of(job)) for _ in range(100)),
            jobs.list("default", after=None, limit=10, status=None),
            jobs.cancel(key_of(job), NOW),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in await soon(calls)} == {StoreUnavailable}
        gate.release()
        await eventually(lambda: works(lambda: admissions.insert(queued())))
        await eventually(lambda: works(lambda: jobs.get(key_of(job))))


async def test_connections_that_were_lost_while_nobody_used_them_cost_no_call(migrated_postgres_dsn: str) -> None:
    async with PostgresAdmissions(migrated_postgres_dsn) as admissions, PostgresJobs(migrated_postgres_dsn) as jobs:
        job = (await admissions.insert(queued())).job
        await jobs.get(key_of(job))
        other = await asyncpg.connect(migrated_postgres_dsn)
        ours = "from pg_stat_activity where application_name like 'penstock/%' and datname = current_database()"
        pids = await other.fetchval(f"select array_agg(pid) {ours}")
        assert await other.fetchval(f"select count(pg_terminate_backend(pid)) {ours}") == len(pids)

        async def gone() -> bool:
            return bool(await other.fetchval(f"select count(*) = 0 {ours} and pid = any($1)", pids))

        await eventually(gone)
        await other.close()
        assert await jobs.get(key_of(job)) == job
        assert not (await admissions.insert(queued())).replayed


async def test_a_lease_of_a_key_begins_once_there_is_a_connection_for_it(migrated_postgres_dsn: str) -> None:
    clock = Clock()
    async with PostgresAdmissions(migrated_postgres_dsn, other_connections=1, clock=clock) as admissions:
        job, key = queued(), idempotency("waits")
        async with admissions._others.connection():
            inserted = asyncio.ensure_future(admissions.insert(job, key))
            await eventually(lambda: admissions._keyed_inserts.waiting == 0)
            clock.forward(seconds=4)
        assert not (await inserted).replayed
        with pytest.raises(RequestInFlight):
            await admissions.insert(queued(), key)


async def test_leaving_a_store_that_hangs_takes_no_longer_than_its_timeout(gate: Gate) -> None:
    jobs = await PostgresJobs(gate.url, timeout_s=0.3).__aenter__()
    gate.hold()
    await soon(jobs.__aexit__(None, None, None))


async def test_opening_a_store_that_is_not_there_is_refused(gate: Gate) -> None:
    await gate.shut()
    for store in (PostgresAdmissions(gate.url), PostgresJobs(gate.url), PostgresResults(gate.url)):
        with pytest.raises(StoreUnavailable):
            async with store:
                pytest.fail("it opened")
    with pytest.raises(StoreUnavailable):
        await migrate(gate.url, timeout_s=1)


async def test_a_store_that_is_not_open_is_unavailable(migrated_postgres_dsn: str) -> None:
    with pytest.raises(StoreUnavailable):
        await PostgresJobs(migrated_postgres_dsn).get(key_of(queued()))


async def test_nothing_that_was_admitted_is_lost_in_a_restart() -> None:
    async with EmbeddedStack(None, services=frozenset([Service.POSTGRES])) as stack:
        await migrate(stack.postgres_dsn)
        admitted, attempts, stop = [], 0, asyncio.Event()
        async with (
            PostgresAdmissions(stack.postgres_dsn) as admissions,
            PostgresJobs(stack.postgres_dsn) as jobs,
            PostgresResults(stack.postgres_dsn) as endings,
        ):

            async def submit() -> None:
                nonlocal attempts
                while not stop.is_set():
                    job = queued()
                    attempts += 1
                    if await works(lambda job=job: admissions.insert(job)):  # type: ignore[misc]
                        admitted.append(job)

            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(submit())
                await eventually(lambda: len(admitted) > 200)
                await stack.postgres.stop()
                before = attempts
                await eventually(lambda: attempts > before)
                await stack.postgres.start()
                back = len(admitted)
                await eventually(lambda: len(admitted) > back + 200)
                stop.set()
            assert await endings.finish([ended(job) for job in admitted]) != []
            stored = await asyncio.gather(*(jobs.get(key_of(job)) for job in admitted))
            assert all(job is not None and job.done for job in stored)


async def test_sessions_ended_by_an_administrator_are_replaced(migrated_postgres_dsn: str) -> None:
    async with PostgresAdmissions(migrated_postgres_dsn) as admissions, PostgresJobs(migrated_postgres_dsn) as jobs:
        job = (await admissions.insert(queued())).job
        connection = await asyncpg.connect(migrated_postgres_dsn)
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await connection.close()
        await eventually(lambda: works(lambda: admissions.insert(queued())))
        await eventually(lambda: works(lambda: jobs.get(key_of(job))))


async def test_a_key_that_waits_does_not_hold_up_jobs_without_one(migrated_postgres_dsn: str) -> None:
    async with PostgresAdmissions(migrated_postgres_dsn) as admissions:
        await admissions.insert(queued(), idempotency())
        blocker = await asyncpg.connect(migrated_postgres_dsn)
        try:
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("select from idempotency_keys for update")
            waiting = [asyncio.ensure_future(admissions.insert(queued(), idempotency())) for _ in range(5)]
            admitted = await asyncio.gather(*(admissions.insert(queued()) for _ in range(100)))
            assert len(admitted) == 100
            assert not any(task.done() for task in waiting)
            await transaction.rollback()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(outcome).__name__ for outcome in outcomes} == {"RequestInFlight"}
        finally:
            await blocker.close()


async def test_a_cut_off_caller_leaves_its_neighbours_their_answers(migrated_postgres_dsn: str) -> None:
    async with PostgresAdmissions(migrated_postgres_dsn) as admissions, PostgresJobs(migrated_postgres_dsn) as jobs:
        inserting = [asyncio.ensure_future(admissions.insert(queued())) for _ in range(50)]
        for task in inserting[::2]:
            task.cancel()
        await asyncio.wait(inserting)
        kept = [task.result().job for task in inserting[1::2]]
        assert await asyncio.gather(*(jobs.get(key_of(job)) for job in kept)) == kept


async def test_an_integer_beyond_its_column_is_refused_alone(migrated_postgres_dsn: str) -> None:
    async with PostgresAdmissions(migrated_postgres_dsn) as admissions:
        outcomes = await asyncio.gather(
            *(admissions.insert(queued(rows=rows)) for rows in (1, 2**40, 2)), return_exceptions=True
        )
        assert [type(outcome).__name__ for outcome in outcomes] == ["Admission", "InvalidInput", "Admission"]
        refused = outcomes[1]
        assert isinstance(refused, InvalidInput)
        assert refused.__cause__ is not None


@pytest.mark.parametrize("key", [None, idempotency()])
async def test_a_withdrawal_waits_for_an_insert_that_is_still_under_way(
    migrated_postgres_dsn: str, key: IdempotencyKey | None
) -> None:
    job = queued()
    other = await asyncpg.connect(migrated_postgres_dsn)
    try:
        async with (
            PostgresAdmissions(migrated_postgres_dsn) as admissions,
            PostgresJobs(migrated_postgres_dsn) as jobs,
            Postgres(migrated_postgres_dsn, connections=1) as postgres,
            Places(postgres) as places,
        ):
            transaction = other.transaction()
            await transaction.start()
            if key is None:
                await insert_queued(other, places.of(job.id), [job])
            else:
                await take_keys(other, places, [KeyedJob(job, key)], now_utc())
            withdrawing = asyncio.create_task(admissions.withdraw(job, key))
            await eventually(lambda: somebody_waits(other))
            await transaction.commit()
            await withdrawing
            assert await jobs.get(key_of(job)) is None
    finally:
        await other.close()


async def somebody_waits(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    waiting: bool = await connection.fetchval("select exists (select from pg_locks where not granted)")
    return waiting
