"""When jobs begin to lie in the slots: at once in a new database, and else once no role of an older version is left."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from schemas.errors import StoreUnavailable
from stores.postgres import PostgresAdmissions, PostgresJobs, PostgresResults, migrate
from stores.postgres.migrations import known_migrations
from stores.postgres.places import place_of, slot_table
from tests.contracts.stores.building import ended, id_of, idempotency, key_of, queued
from tests.integration.stores.migrating import QUICK, fetch, session
from tests.integration.stores.old_role import APPLICATION_NAME, NEWEST, OldRole, make_old_database
from tests.waiting import eventually, soon


async def table_of(dsn: str, job_id: str) -> list[str]:
    async with session(dsn) as connection:
        rows = await connection.fetch("select tableoid::regclass::text from jobs where id = $1", job_id)
    return [table for (table,) in rows]


def slot_of(job_id: str) -> str:
    return slot_table(place_of(job_id, float("-inf")))


async def test_in_a_new_database_jobs_lie_in_the_slot_of_their_day(migrated_postgres_dsn: str) -> None:
    dsn, plain, keyed, batch, unseen, direct = migrated_postgres_dsn, *(queued() for _ in range(4)), queued(id="t-0-1")
    async with PostgresAdmissions(dsn) as admissions, PostgresResults(dsn) as endings:
        await admissions.insert(plain)
        await admissions.insert(keyed, idempotency())
        await admissions.insert_new([batch, direct])
        now = datetime.now(UTC)
        await endings.finish([ended(unseen, completed_at=now, expires_at=now), ended(plain), ended(direct)])
    for job in (plain, keyed, batch, unseen):
        assert await table_of(dsn, job.id) == [slot_of(job.id)]
    assert await table_of(dsn, direct.id) == ["jobs"]


async def test_calls_that_are_made_around_midnight_share_what_they_can(migrated_postgres_dsn: str) -> None:
    """A group of calls with jobs of several days, each with a key or none, and some of them asked for twice."""
    dsn, now = migrated_postgres_dsn, datetime.now(UTC)
    jobs = [queued(id=id_of(now + timedelta(days=number % 3))) for number in range(30)]
    async with PostgresAdmissions(dsn) as admissions, PostgresJobs(dsn) as reading, PostgresResults(dsn) as endings:
        plain = await asyncio.gather(*(admissions.insert(job) for job in jobs[:15] + jobs[:3]))
        assert [admission.replayed for admission in plain].count(True) == 3
        keyed = await asyncio.gather(*(admissions.insert(job, idempotency(job.id)) for job in jobs[15:]))
        assert not any(admission.replayed for admission in keyed)
        await asyncio.gather(*(admissions.withdraw(job, idempotency(job.id)) for job in jobs[15:20]))
        await asyncio.gather(*(admissions.withdraw(job) for job in jobs[10:15]))
        found = await asyncio.gather(*(reading.get(key_of(job)) for job in jobs))
        assert found == [None if 10 <= number < 20 else job for number, job in enumerate(jobs)]
        won = await endings.finish([ended(job) for job in jobs[::-1]])
        assert sorted(won) == sorted(map(key_of, jobs[:10] + jobs[20:]))
        await endings.mark_running([key_of(job) for job in jobs], now)
        assert {job.status for job in await reading.list("default", after=None, limit=99, status=None)} == {"succeeded"}


async def test_beside_roles_of_the_first_release_jobs_lie_where_those_see_them_and_an_hour_later_in_the_slots(
    fresh_postgres_dsn: str,
) -> None:
    dsn = fresh_postgres_dsn
    await make_old_database(dsn)
    async with AsyncExitStack() as old_roles:
        old = OldRole(await old_roles.enter_async_context(session(dsn, APPLICATION_NAME)))
        of_old = queued()
        await old.insert([of_old])
        await migrate(dsn, pace=QUICK)
        async with PostgresAdmissions(dsn) as admissions, PostgresJobs(dsn) as jobs:
            beside = queued()
            await admissions.insert(beside)
            assert await table_of(dsn, beside.id) == ["jobs"]
            assert await old.finish([ended(beside)]) == [key_of(beside)]
            assert (await jobs.get(key_of(beside))) is not None
            assert await jobs.get(key_of(of_old)) == of_old

            await old_roles.aclose()
            await migrate(dsn, pace=QUICK, wait_for_roles=True)
            soon, later = queued(), queued(id=id_of(datetime.now(UTC) + timedelta(hours=2)))
            await admissions.insert(soon)  # by who has not heard of it yet
    async with PostgresAdmissions(dsn) as admissions, PostgresJobs(dsn) as jobs, PostgresResults(dsn) as endings:
        await admissions.insert(later)
        assert await table_of(dsn, soon.id) == ["jobs"]
        assert await table_of(dsn, later.id) == [slot_of(later.id)]
        assert [await jobs.get(key_of(job)) for job in (of_old, soon, later)] == [of_old, soon, later]
        assert len(await jobs.list("default", after=None, limit=10, status=None)) == 4
        won = await endings.finish([ended(job) for job in (of_old, beside, soon, later)])
        assert sorted(won) == sorted(map(key_of, (of_old, soon, later)))


async def test_jobs_are_written_while_the_slots_are_made(fresh_postgres_dsn: str) -> None:
    await make_old_database(fresh_postgres_dsn)
    *slots, _column, _indexes = known_migrations()[NEWEST].statements
    async with (
        session(fresh_postgres_dsn, APPLICATION_NAME) as connection,
        session(fresh_postgres_dsn) as migrating,
        migrating.transaction(),
    ):
        for statement in slots:
            await migrating.execute(statement.sql)
        await soon(OldRole(connection).insert([queued()]))


async def test_statements_of_the_first_release_see_what_lies_in_the_slots(migrated_postgres_dsn: str) -> None:
    dsn, job, other = migrated_postgres_dsn, queued(), queued()
    async with PostgresAdmissions(dsn) as admissions, PostgresJobs(dsn) as jobs, session(dsn) as connection:
        await admissions.insert(job)
        await admissions.insert(other)
        old = OldRole(connection)
        assert await old.statuses([key_of(job)]) == {key_of(job): "queued"}
        assert await old.newest("default", 10) == sorted([job.id, other.id], reverse=True)
        await old.mark_running([key_of(job)])
        await old.cancel(key_of(other))
        assert [each and each.status for each in [await jobs.get(key_of(one)) for one in (job, other)]] == [
            "running",
            "canceled",
        ]


async def test_a_store_that_opens_before_the_ring_is_there_works_once_it_is(fresh_postgres_dsn: str) -> None:
    async with PostgresAdmissions(fresh_postgres_dsn) as admissions:
        await migrate(fresh_postgres_dsn, pace=QUICK)
        job = queued()

        async def is_written() -> bool:
            try:
                return not (await admissions.insert(job)).replayed
            except StoreUnavailable:
                return False

        await eventually(is_written)


async def test_a_job_whose_id_is_ahead_of_its_time_is_taken_along_into_its_slot(fresh_postgres_dsn: str) -> None:
    """Direct producers make ids by clocks of their own."""
    dsn, now = fresh_postgres_dsn, datetime.now(UTC)
    await make_old_database(dsn)
    ahead = [queued(id=id_of(now + timedelta(days=day)), tenant=f"tenant-{day % 3}") for day in range(1, 10)]
    others = [queued(), queued(id="job_g"), queued(id=f"{ahead[0].id}0"), queued(id=ahead[1].id[:-1])]
    async with session(dsn, APPLICATION_NAME) as connection:
        old = OldRole(connection)
        await old.insert([*ahead, *others])
        await old.finish([ended(ahead[0])])
        await migrate(dsn, pace=QUICK)
    await migrate(dsn, pace=QUICK, wait_for_roles=True)
    for job in ahead:
        assert await table_of(dsn, job.id) == [slot_of(job.id)]
    for job in others:
        assert await table_of(dsn, job.id) == ["jobs"]
    async with PostgresResults(dsn) as endings, PostgresJobs(dsn) as jobs:
        assert sorted(await endings.finish([ended(job) for job in ahead])) == sorted(map(key_of, ahead[1:]))
        late = await endings.overdue(now, 10)
        assert sorted(job.id for job in late) == sorted(job.id for job in others)
        found = [await jobs.get(key_of(job)) for job in ahead]
        assert [job and job.status for job in found] == ["succeeded"] * len(ahead)


async def test_the_database_and_the_stores_draw_the_line_at_the_same_millisecond(fresh_postgres_dsn: str) -> None:
    dsn = fresh_postgres_dsn
    await make_old_database(dsn)
    async with session(dsn, APPLICATION_NAME) as connection:
        await OldRole(connection).insert([queued()])
    await migrate(dsn, pace=QUICK, wait_for_roles=True)
    ((began,),) = await fetch(dsn, "select began from job_ring")
    before, first = (queued(id=id_of(began + timedelta(milliseconds=after))) for after in (-1, 0))
    async with PostgresAdmissions(dsn) as admissions:
        await admissions.insert_new([before, first])
    assert await table_of(dsn, before.id) == ["jobs"]
    assert await table_of(dsn, first.id) == [slot_of(first.id)]


async def test_who_has_not_heard_that_the_ring_began_writes_no_job_to_where_nobody_looks_for_it(
    fresh_postgres_dsn: str,
) -> None:
    dsn, now = fresh_postgres_dsn, datetime.now(UTC)
    await make_old_database(dsn)
    ahead = queued(id=id_of(now + timedelta(hours=2)))
    async with session(dsn, APPLICATION_NAME) as connection:
        await OldRole(connection).insert([queued()])
        await migrate(dsn, pace=QUICK)
        async with PostgresAdmissions(dsn) as stale, PostgresResults(dsn) as endings:
            await connection.close()
            await migrate(dsn, pace=QUICK, wait_for_roles=True)
            with pytest.raises(StoreUnavailable, match="not known yet where jobs lie"):
                await stale.insert(ahead)
            with pytest.raises(StoreUnavailable, match="not known yet where jobs lie"):
                await stale.insert(ahead, idempotency())
            with pytest.raises(StoreUnavailable, match="not known yet where jobs lie"):
                await stale.insert_new([ahead, queued(metadata={"no": "\ud800"})])
            with pytest.raises(StoreUnavailable, match="not known yet where jobs lie"):
                await endings.finish([ended(ahead, completed_at=now, expires_at=now)])
    assert await table_of(dsn, ahead.id) == []
    async with session(dsn, APPLICATION_NAME) as too_late:
        with pytest.raises(asyncpg.CheckViolationError):
            await OldRole(too_late).insert([ahead])
