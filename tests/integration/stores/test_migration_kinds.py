"""Each kind of migration: beside those who work, cut off and gone on with."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, StoreUnavailable
from stores.postgres import PostgresJobs
from stores.postgres.calls import Postgres
from stores.postgres.migrations import Migration, applying, known_migrations, migrate, schema_state, sessions
from stores.postgres.migrations.ledger import LOCK
from tests.contracts.stores.building import key_of, queued
from tests.integration.stores.migrating import (
    ALL,
    COLUMN,
    FILLED,
    GONE,
    INDEX,
    LATER,
    QUICK,
    TABLE,
    applied,
    contract,
    contraction,
    fetch,
    session,
    waiting,
)
from tests.waiting import eventually, soon

IS_VALID = "select indisvalid from pg_index where indexrelid = to_regclass('names')"
OLD_ROLE = "penstock/4/sink"


@pytest.fixture
async def dsn(fresh_postgres_dsn: str) -> str:
    """A database with the table and the column."""
    await migrate(fresh_postgres_dsn, migrations=[TABLE, COLUMN])
    return fresh_postgres_dsn


async def test_all_kinds_are_applied_in_order_and_once(fresh_postgres_dsn: str) -> None:
    assert await migrate(fresh_postgres_dsn, migrations=ALL, pace=QUICK) == ALL
    assert await migrate(fresh_postgres_dsn, migrations=ALL, pace=QUICK) == []
    assert await fetch(fresh_postgres_dsn, "select count(*), count(*) filter (where new = id) from things") == [
        (50, 50)
    ]
    assert await fetch(fresh_postgres_dsn, "select rows_changed from schema_migrations where number = 4") == [(50,)]


async def test_of_several_that_migrate_at_once_each_thing_is_done_by_one(fresh_postgres_dsn: str) -> None:
    several = (migrate(fresh_postgres_dsn, migrations=ALL, pace=QUICK) for _ in range(4))
    outcomes = await soon(asyncio.gather(*several))
    assert sorted(map(len, outcomes)) == [0, 0, 0, len(ALL)]


async def test_who_waits_for_another_run_says_so_and_is_not_waited_for_by_its_index(dsn: str) -> None:
    told: list[str] = []
    async with session(dsn) as holder:
        assert await holder.fetchval("select pg_try_advisory_lock($1)", LOCK)
        migrating = asyncio.create_task(migrate(dsn, migrations=ALL, pace=QUICK, told=told.append))
        await eventually(lambda: told == ["another `penstock migrate` is at work: waiting for it"])
        await soon(holder.execute(INDEX.sql))
    assert await soon(migrating) == ALL[2:]


async def test_an_expansion_that_has_to_wait_lets_others_pass_and_tries_again(dsn: str) -> None:
    told: list[str] = []
    wider = Migration(3, "0003_wider.sql", "alter table things add column wider integer")
    async with session(dsn) as holder, session(dsn) as other:
        async with holder.transaction():
            await holder.execute("select from things for update")
            migrating = asyncio.create_task(
                migrate(dsn, migrations=[TABLE, COLUMN, wider], pace=QUICK, told=told.append)
            )
            await eventually(lambda: len(told) > 1)
            assert await soon(other.fetchval("select count(*) from things")) == 50
        assert await soon(migrating) == [wider]
    assert "0003_wider.sql, line 1: canceling statement due to lock timeout. Trying again in 0.05 s" in told


async def test_who_never_gets_the_lock_says_so_and_leaves_nothing(dsn: str) -> None:
    wider = Migration(3, "0003_wider.sql", "alter table things add column wider integer")
    async with session(dsn) as holder, holder.transaction():
        await holder.execute("select from things for update")
        with pytest.raises(StoreUnavailable, match=r"0003_wider.sql, line 1: canceling statement due to lock timeout"):
            await migrate(dsn, migrations=[TABLE, COLUMN, wider], pace=QUICK._replace(pauses_s=()))
    assert await applied(dsn) == [1, 2]


async def test_an_index_is_built_while_others_write_and_tells_whom_it_waits_for(dsn: str) -> None:
    told: list[str] = []
    async with session(dsn, "somebody") as holder, session(dsn) as other:
        async with holder.transaction():
            await holder.execute("insert into things values (51, 'thing 51')")
            migrating = asyncio.create_task(migrate(dsn, migrations=ALL[:3], pace=QUICK, told=told.append))
            await eventually(lambda: any("somebody" in line for line in told))
            await soon(other.execute("insert into things values (52, 'thing 52')"))
        assert await soon(migrating) == [INDEX]
    assert await fetch(dsn, IS_VALID) == [(True,)]
    (line, *_) = [line for line in told if "somebody" in line]
    assert line.startswith("0003_names.concurrent.sql: waiting for ")


async def test_an_index_that_failed_says_why_and_is_built_anew(dsn: str) -> None:
    await fetch(dsn, "insert into things values (51, 'thing 1')")
    with pytest.raises(StoreUnavailable, match=r"0003_names.concurrent.sql, line 1: could not create unique index"):
        await migrate(dsn, migrations=ALL, pace=QUICK)
    assert await fetch(dsn, IS_VALID) == [(False,)]
    state = await schema_state(dsn)
    assert not state.migrating

    await fetch(dsn, "delete from things where id = 51")
    assert await migrate(dsn, migrations=ALL, pace=QUICK) == ALL[2:]
    assert await fetch(dsn, IS_VALID) == [(True,)]


async def test_a_backfill_tells_how_far_it_is_and_goes_on_where_it_was_cut_off(dsn: str) -> None:
    told: list[str] = []
    async with session(dsn) as holder:
        async with holder.transaction():
            await holder.execute("select from things where id = 25 for update")
            migrating = asyncio.create_task(
                migrate(dsn, migrations=ALL, pace=QUICK._replace(lock_timeout_s=60), told=told.append)
            )
            await eventually(lambda: waiting(dsn, "update things"))
            migrating.cancel()
            await asyncio.wait([migrating])
        assert await fetch(dsn, "select count(*) from things where new is not null") == [(20,)]
        assert await fetch(dsn, "select rows_changed, applied_at from schema_migrations where number = 4") == [
            (20, None)
        ]
    assert await migrate(dsn, migrations=ALL, pace=QUICK._replace(tell_s=0.0), told=told.append) == [
        FILLED,
        GONE,
        LATER,
    ]
    assert "0004_filled.backfill.sql: 30 rows so far" in told
    assert await fetch(dsn, "select count(*) from things where new = id") == [(50,)]
    assert await fetch(dsn, "select rows_changed from schema_migrations where number = 4") == [(50,)]


async def test_what_contracts_is_left_while_an_older_role_is_connected_and_all_else_goes_on(dsn: str) -> None:
    told: list[str] = []
    async with session(dsn, OLD_ROLE), session(dsn, "penstock/5/sink"), session(dsn, "psql"):
        assert await migrate(dsn, migrations=ALL, pace=QUICK, told=told.append) == [INDEX, FILLED, LATER]
    (line,) = [line for line in told if line.startswith("left")]
    assert line == (
        "left 0005_gone.contract.sql for later: it takes away what older roles use (sink at 127.0.0.1). "
        "Once they have ended, run `penstock migrate` again"
    )
    await eventually(lambda: nobody(dsn, OLD_ROLE))
    assert await migrate(dsn, migrations=ALL, pace=QUICK) == [GONE]


async def test_a_contraction_whose_process_stands_still_lets_go_of_what_it_has_locked(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LONGEST_SILENCE", "200ms")
    held, goes_on = asyncio.Event(), asyncio.Event()

    async def stand_still(_: object) -> list[object]:
        held.set()
        await goes_on.wait()
        return []

    monkeypatch.setattr(applying, "connected_roles", stand_still)
    run = asyncio.create_task(migrate(dsn, migrations=ALL, pace=QUICK))
    await held.wait()
    async with Postgres(dsn, connections=1):  # reads what the contraction has locked
        goes_on.set()
    with pytest.raises(StoreUnavailable):
        await run
    monkeypatch.undo()
    assert await migrate(dsn, migrations=ALL, pace=QUICK) == [GONE, LATER]


async def test_roles_from_before_there_was_anything_to_take_away_are_in_the_way_too(dsn: str) -> None:
    async with session(dsn, "penstock"):
        assert GONE not in await migrate(dsn, migrations=ALL, pace=QUICK)


async def test_what_contracts_can_wait_for_the_older_roles_to_end(dsn: str) -> None:
    told: list[str] = []
    async with session(dsn, OLD_ROLE):
        migrating = asyncio.create_task(migrate(dsn, migrations=ALL, pace=QUICK, told=told.append, wait_for_roles=True))
        await eventually(lambda: "0005_gone.contract.sql waits for older roles to end: sink at 127.0.0.1" in told)
    assert GONE in await soon(migrating)


async def test_of_one_that_needs_less_than_itself_only_those_who_know_less_are_in_the_way(dsn: str) -> None:
    gone = GONE._replace(sql=f"-- needs: 0004\n{GONE.sql}")
    async with session(dsn, OLD_ROLE):
        assert gone in await migrate(dsn, migrations=[*ALL[:4], gone], pace=QUICK)


async def nobody(dsn: str, name: str) -> bool:
    return await fetch(dsn, f"select from pg_stat_activity where application_name = '{name}'") == []


async def test_a_role_over_a_contracted_database_does_not_open_and_names_the_version_to_run(
    migrated_postgres_dsn: str,
) -> None:
    await contract(migrated_postgres_dsn)
    with pytest.raises(ConfigurationError, match=r"took away what this version of Penstock needs: run Penstock \d"):
        async with PostgresJobs(migrated_postgres_dsn):
            pytest.fail("it opened")


async def test_a_role_that_lost_its_connections_uses_nothing_once_the_database_was_contracted(
    migrated_postgres_dsn: str,
) -> None:
    async with PostgresJobs(migrated_postgres_dsn, role="sink") as jobs:
        gone = contraction()
        assert gone not in await migrate(migrated_postgres_dsn, migrations=[*known_migrations(), gone], pace=QUICK)
        await fetch(
            migrated_postgres_dsn,
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'penstock/%/sink'",
        )
        assert gone in await migrate(migrated_postgres_dsn, migrations=[*known_migrations(), gone], pace=QUICK)
        with pytest.raises(StoreUnavailable, match="took away what this version of Penstock needs"):
            await eventually(lambda: jobs.get(key_of(queued())))


async def test_a_role_that_comes_while_the_database_is_being_contracted_waits_and_is_refused(
    migrated_postgres_dsn: str,
) -> None:
    gone = contraction("lock table jobs")
    async with session(migrated_postgres_dsn) as holder:
        async with holder.transaction():
            await holder.execute("lock table jobs in access share mode")
            migrating = asyncio.create_task(
                migrate(
                    migrated_postgres_dsn,
                    migrations=[*known_migrations(), gone],
                    pace=QUICK._replace(lock_timeout_s=60),
                )
            )
            await eventually(lambda: waiting(migrated_postgres_dsn, "lock table jobs"))
            opening = asyncio.create_task(Postgres(migrated_postgres_dsn, connections=1, timeout_s=60).__aenter__())
            await eventually(lambda: waiting(migrated_postgres_dsn, "from schema_migrations where needs"))
        assert await soon(migrating) == [gone]
        with pytest.raises(ConfigurationError):
            await soon(opening)


# What it waits for when it is killed, who keeps it waiting, and how many of the files it has done by then.
POINTS = {
    "expansion": ("alter table things add column new", "lock table things in access share mode", 1),
    "index": ("create unique index concurrently", "insert into things values (51, 'thing 51', 51)", 2),
    "backfill": ("update things set new", "select from things where id = 25 for update", 3),
    "contraction": ("alter table things drop column", "lock table things in access share mode", 4),
}


@pytest.mark.parametrize("point", POINTS)
async def test_a_run_that_is_killed_is_gone_on_with_by_the_next_one(
    point: str, fresh_postgres_dsn: str, tmp_path: Path
) -> None:
    sql, hold, done = POINTS[point]
    await migrate(fresh_postgres_dsn, migrations=ALL[:done], pace=QUICK)
    for migration in ALL:
        (tmp_path / migration.name).write_text(migration.sql, "utf-8")
    async with session(fresh_postgres_dsn) as holder:
        async with holder.transaction():
            await holder.execute(hold)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.integration.stores.migrating", fresh_postgres_dsn, str(tmp_path)
            )
            await eventually(lambda: waiting(fresh_postgres_dsn, sql))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert len(await applied(fresh_postgres_dsn)) == done
    assert await soon(migrate(fresh_postgres_dsn, migrations=ALL, pace=QUICK)) == ALL[done:]
    assert await fetch(fresh_postgres_dsn, IS_VALID) == [(True,)]
    assert await fetch(fresh_postgres_dsn, "select count(*) from things where new is distinct from id") == [(0,)]
