"""The schema is made once, whoever comes first."""

import asyncio

import asyncpg
import pytest

from schemas.errors import ConfigurationError, StoreUnavailable
from stores.postgres import PostgresJobs
from stores.postgres.migrations import Migration, known_migrations, migrate
from tests.contracts.stores.building import key_of, queued
from tests.integration.stores.migrating import applied, fetch
from tests.waiting import eventually

FIRST = Migration(1, "0001_one.sql", "create table one (n integer)")
# What a role of the first version writes.
OLD_INSERT = """
insert into jobs (tenant, id, model, version, lane, created_at, expires_at, rows, answer, status)
values ($1, $2, 'digits', '2', 'live', $3, $4, 1, 'tensors', 'queued')
"""
SECOND = Migration(2, "0002_two.sql", "create table two (n integer); insert into one values (2)")


async def test_a_new_database_gets_everything_and_then_nothing(fresh_postgres_dsn: str) -> None:
    assert await migrate(fresh_postgres_dsn) == known_migrations()
    assert await migrate(fresh_postgres_dsn) == []
    assert await applied(fresh_postgres_dsn) == [migration.number for migration in known_migrations()]


async def test_of_many_roles_that_migrate_at_once_one_does_it(fresh_postgres_dsn: str) -> None:
    outcomes = await asyncio.gather(*(migrate(fresh_postgres_dsn) for _ in range(8)))
    assert sorted(map(len, outcomes)) == [0] * 7 + [len(known_migrations())]


async def test_only_what_is_new_is_applied(fresh_postgres_dsn: str) -> None:
    assert await migrate(fresh_postgres_dsn, migrations=[FIRST]) == [FIRST]
    assert await migrate(fresh_postgres_dsn, migrations=[FIRST, SECOND]) == [SECOND]
    assert await fetch(fresh_postgres_dsn, "select n from one") == [(2,)]


async def test_a_failing_migration_leaves_nothing_of_itself_and_says_where_it_failed(fresh_postgres_dsn: str) -> None:
    broken = Migration(3, "0003_broken.sql", "-- three\ncreate table three (n integer);\n\nselect nonsense")
    with pytest.raises(StoreUnavailable, match=r'0003_broken.sql, line 4: column "nonsense" does not exist'):
        await migrate(fresh_postgres_dsn, migrations=[FIRST, SECOND, broken])
    assert await applied(fresh_postgres_dsn) == [1, 2]
    assert await fetch(fresh_postgres_dsn, "select n, to_regclass('three')::text from one") == [(2, None)]


async def test_a_database_to_which_a_newer_version_added_things_is_left_as_it_is(fresh_postgres_dsn: str) -> None:
    await migrate(fresh_postgres_dsn, migrations=[FIRST, SECOND])
    assert await migrate(fresh_postgres_dsn, migrations=[FIRST]) == []


async def test_a_database_made_by_another_file_is_refused(fresh_postgres_dsn: str) -> None:
    await migrate(fresh_postgres_dsn, migrations=[FIRST])
    with pytest.raises(ConfigurationError, match=r"another 0001_one\.sql"):
        await migrate(fresh_postgres_dsn, migrations=[FIRST._replace(sql="create table one ()"), SECOND])
    assert await applied(fresh_postgres_dsn) == [1]


async def test_a_database_that_skipped_one_is_refused(fresh_postgres_dsn: str) -> None:
    await migrate(fresh_postgres_dsn, migrations=[FIRST, Migration(3, "0003_three.sql", "select 3")])
    with pytest.raises(ConfigurationError, match=r"lacks 0002_two\.sql"):
        await migrate(fresh_postgres_dsn, migrations=[FIRST, SECOND, Migration(3, "0003_three.sql", "select 3")])


async def test_a_job_that_is_written_while_an_empty_table_gets_its_statistics_stays(fresh_postgres_dsn: str) -> None:
    await migrate(fresh_postgres_dsn, migrations=known_migrations()[:3])
    job = queued()
    other = await asyncpg.connect(fresh_postgres_dsn)
    try:
        async with other.transaction():
            await other.execute(OLD_INSERT, job.tenant, job.id, job.created_at, job.expires_at)
            migrating = asyncio.create_task(migrate(fresh_postgres_dsn))
            await eventually(lambda: other.fetchval("select exists (select from pg_locks where not granted)"))
        await migrating
    finally:
        await other.close()
    async with PostgresJobs(fresh_postgres_dsn) as jobs:
        assert await jobs.get(key_of(job)) == job
