"""How what is kept no longer goes: a day is given back with its disk, and nobody who works is in the way or held up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from schemas.errors import StoreUnavailable
from schemas.jobs import Payload, Status
from stores.postgres import PostgresAdmissions, PostgresJobs, PostgresPurging, PostgresResults
from stores.postgres.migrations import sessions
from stores.postgres.places import REST, place_of, slot_table
from stores.postgres.purging import by_walk, slots
from stores.postgres.purging.by_walk import Walk
from stores.protocols import Purged
from stores.retention import DEFAULT_RETENTION
from tests.contracts.stores.building import NOW, Clock, Stores, ended, id_of, idempotency, key_of, queued
from tests.integration.stores.migrating import fetch, session
from tests.waiting import soon, until

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

SLOT = place_of(id_of(NOW), float("-inf"))
TABLE = slot_table(SLOT)
DUE = NOW + DEFAULT_RETENTION + timedelta(days=1)
FILL = """
insert into {table} (
    created_at, expires_at, completed_at, rows, tenant, id, model, version, lane, answer, status, result, keep_until
)
select $1, $1, $1::timestamptz + number * interval '1 ms', 1, 'default', 'filled-' || number, 'digits', '2', 'live',
    'tensors', 'succeeded', repeat('x', 500)::bytea, $4
from generate_series($2::integer + 1, $3::integer) as number
"""


@pytest.fixture
async def stores(migrated_postgres_dsn: str) -> AsyncIterator[Stores]:
    dsn, clock = migrated_postgres_dsn, Clock()
    async with (
        PostgresAdmissions(dsn, clock=clock) as admissions,
        PostgresJobs(dsn) as jobs,
        PostgresResults(dsn, clock=clock) as endings,
    ):
        yield Stores(admissions, jobs, endings, PostgresPurging(dsn, DEFAULT_RETENTION))


async def fill(dsn: str, table: str, first: int, last: int, keep_until: datetime | None = None) -> None:
    async with session(dsn) as connection:
        await connection.execute(FILL.format(table=table), NOW, first, last, keep_until)


async def size_bytes(dsn: str, table: str) -> int:
    """Of the table and its indexes, without what an empty table takes."""
    ((size,),) = await fetch(dsn, f"select pg_total_relation_size('{table}')")
    ((empty,),) = await fetch(dsn, "select pg_total_relation_size('jobs_00')")
    return int(size) - int(empty)


async def count(dsn: str, table: str) -> int:
    ((rows,),) = await fetch(dsn, f"select count(*) from only {table}")  # noqa: S608 - one of our tables
    return int(rows)


async def test_a_day_in_which_all_is_due_is_given_back_with_its_disk(
    stores: Stores, migrated_postgres_dsn: str
) -> None:
    await fill(migrated_postgres_dsn, TABLE, 0, 5000)
    assert await size_bytes(migrated_postgres_dsn, TABLE) > 2_000_000
    assert await stores.purge(DUE) == {"jobs": 5000}
    assert await size_bytes(migrated_postgres_dsn, TABLE) <= 0


async def test_few_jobs_that_stay_do_not_hold_up_their_day(stores: Stores, migrated_postgres_dsn: str) -> None:
    fields = {"created_at": NOW, "expires_at": NOW + timedelta(minutes=10)}
    kept, late, waiting = [
        await stores.inserted(id=id_of(NOW), retention_s=retention_s, **fields) for retention_s in (10**7, None, None)
    ]
    result = Payload(b"r" * 200_000, "application/octet-stream", 14)
    await stores.endings.finish([ended(kept, result=result), ended(late, completed_at=DUE - timedelta(days=1))])
    before = [await stores.found(job) for job in (kept, late, waiting)]
    await fill(migrated_postgres_dsn, TABLE, 0, 5000)

    assert await stores.purge(DUE) == {"jobs": 5000}
    assert await stores.purge(DUE) == {}
    assert [await stores.found(job) for job in (kept, late, waiting)] == before
    assert await size_bytes(migrated_postgres_dsn, TABLE) < 500_000
    assert await stores.endings.finish([ended(waiting)]) == [key_of(waiting)]
    assert (await stores.found(waiting)).status is Status.SUCCEEDED


async def test_of_a_day_in_which_many_stay_the_others_go_one_by_one(
    stores: Stores, migrated_postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_MOST_PUT_BACK", 10)
    await fill(migrated_postgres_dsn, TABLE, 0, 3000)
    await fill(migrated_postgres_dsn, TABLE, 3000, 3100, keep_until=DUE + timedelta(days=2))
    assert await stores.purge(DUE) == {"jobs": 3000}
    assert await count(migrated_postgres_dsn, TABLE) == 100
    assert await stores.purge(DUE + timedelta(days=1)) == {}
    assert await stores.purge(DUE + timedelta(days=3)) == {"jobs": 100}


async def test_jobs_without_a_day_go_step_by_step(stores: Stores, migrated_postgres_dsn: str) -> None:
    await fill(migrated_postgres_dsn, "jobs", 0, 3000)
    steps = [purged async for purged in stores.purging.purge(DUE)]
    assert len(steps) > 1
    assert sum(purged.rows for purged in steps) == 3000
    assert await count(migrated_postgres_dsn, "jobs") == 0


class FarAway:
    """A connection over which every answer takes 10 ms."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: object) -> Any:
            answer = await getattr(self._connection, name)(*arguments)
            await until(asyncio.get_running_loop().time() + 0.01)
            return answer

        return call


async def test_steps_are_as_large_over_a_slow_network(stores: Stores, migrated_postgres_dsn: str) -> None:
    await fill(migrated_postgres_dsn, "jobs", 0, 3000)
    async with session(migrated_postgres_dsn) as connection:
        far = cast("Connection", FarAway(connection))
        steps = [rows async for rows in Walk(REST, "jobs").steps(far, NOW)]
    assert len(steps) < 25  # of 64 pages and more, unless the machine is very busy
    assert sum(steps) == 0


async def test_a_job_that_somebody_works_on_is_left_for_the_next_time(
    stores: Stores, migrated_postgres_dsn: str
) -> None:
    """Whoever writes jobs locks them along their keys, and never waits for a purge that waits for it."""
    await fill(migrated_postgres_dsn, "jobs", 0, 10)
    async with session(migrated_postgres_dsn) as worker, worker.transaction():
        await worker.execute("select from only jobs where id = 'filled-5' for update")
        assert await soon(stores.purge(DUE)) == {"jobs": 9}
    assert await count(migrated_postgres_dsn, "jobs") == 1


async def test_a_day_that_somebody_reads_is_given_back_later_and_nothing_else_waits_for_it(
    stores: Stores, migrated_postgres_dsn: str
) -> None:
    await fill(migrated_postgres_dsn, TABLE, 0, 100)
    await fill(migrated_postgres_dsn, "jobs", 0, 50)
    async with session(migrated_postgres_dsn) as reader:
        async with reader.transaction():
            await reader.fetch(f"select from {TABLE} limit 1")
            assert await stores.purge(DUE) == {"jobs": 50}
        assert await count(migrated_postgres_dsn, TABLE) == 100
    assert await stores.purge(DUE) == {"jobs": 100}


async def test_a_day_that_is_vacuumed_is_given_back_later_and_the_vacuum_is_not_canceled(
    stores: Stores, migrated_postgres_dsn: str
) -> None:
    """Postgres cancels what it began by itself for whoever waits for a second."""
    await fill(migrated_postgres_dsn, TABLE, 0, 100)
    await fill(migrated_postgres_dsn, "jobs", 0, 50)
    async with session(migrated_postgres_dsn) as vacuum:
        async with vacuum.transaction():
            await vacuum.execute(f"lock table {TABLE} in share update exclusive mode")  # what a vacuum holds
            assert await soon(stores.purge(DUE)) == {"jobs": 50}
        assert await count(migrated_postgres_dsn, TABLE) == 100
    assert await stores.purge(DUE) == {"jobs": 100}


async def test_a_purge_that_ends_early_is_gone_on_with_by_the_next_one_after_what_is_quick(
    stores: Stores, migrated_postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_walk, "_PAGES", 8)
    monkeypatch.setattr(by_walk, "_MOST_PAGES", 8)
    await fill(migrated_postgres_dsn, "jobs", 0, 3000)
    assert await some_steps(stores) == {"jobs"}
    left = await count(migrated_postgres_dsn, "jobs")
    assert 0 < left < 3000

    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.admissions.confirm(job, idempotency())
    assert await some_steps(stores) == {"jobs", "idempotency_keys"}
    assert await count(migrated_postgres_dsn, "jobs") < left
    await stores.purge(DUE)
    assert await count(migrated_postgres_dsn, "jobs") == 0


async def some_steps(stores: Stores) -> set[str]:
    """Which tables rows went from until some went from the walked one, after which the purge is left."""
    tables = set()
    async with aclosing(stores.purging.purge(DUE)) as steps:
        async for purged in steps:
            if purged.rows:
                tables.add(purged.table)
            if purged.table == "jobs" and purged.rows:
                break
    return tables


async def test_a_purge_whose_process_stands_still_lets_go_of_the_day(
    stores: Stores, migrated_postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(migrated_postgres_dsn, TABLE, 0, 100)
    held, goes_on, is_locked = asyncio.Event(), asyncio.Event(), slots._is_locked

    async def stand_still(connection: "Connection", table: str) -> bool:
        assert await is_locked(connection, table)
        held.set()
        return await goes_on.wait()

    with monkeypatch.context() as patched:
        patched.setattr(sessions, "LONGEST_SILENCE", "200ms")
        patched.setattr(slots, "_is_locked", stand_still)
        purging = asyncio.create_task(stores.purge(DUE))
        await held.wait()
        assert len(await stores.jobs.list("default", after=None, limit=10, status=None)) == 10
        goes_on.set()
        with pytest.raises(StoreUnavailable):
            await purging
    assert await stores.purge(DUE) == {"jobs": 100}


async def test_one_process_purges_at_a_time(stores: Stores, migrated_postgres_dsn: str) -> None:
    await fill(migrated_postgres_dsn, "jobs", 0, 3000)
    first = stores.purging.purge(DUE)
    await anext(first)
    assert await stores_of(migrated_postgres_dsn) == []
    await first.aclose()
    assert await stores_of(migrated_postgres_dsn) != []


async def stores_of(dsn: str) -> list[Purged]:
    """What another sink purges."""
    return [purged async for purged in PostgresPurging(dsn, DEFAULT_RETENTION).purge(DUE) if purged.rows]


async def test_a_table_that_cannot_be_purged_is_told_and_the_others_are(
    stores: Stores, migrated_postgres_dsn: str
) -> None:
    await fill(migrated_postgres_dsn, "jobs", 0, 10)
    await fetch(migrated_postgres_dsn, "alter table idempotency_keys rename column created_at to made_at")
    steps = [purged async for purged in stores.purging.purge(DUE)]
    failures = [(purged.table, str(purged.failure.__cause__)) for purged in steps if purged.failure is not None]
    assert failures == [("idempotency_keys", 'column "created_at" does not exist')]
    assert sum(purged.rows for purged in steps if purged.table == "jobs") == 10


async def test_what_stays_in_a_day_is_found_without_reading_the_day(migrated_postgres_dsn: str) -> None:
    """Whole days are many gigabytes, and nobody else gets to the table meanwhile."""
    await fill(migrated_postgres_dsn, TABLE, 0, 50_000)
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute("set enable_seqscan = off")
        await connection.execute(f"select brin_summarize_new_values('{TABLE}_ended')")
        statement = slots._COUNT_STAYING.format(slot=TABLE)
        read = await buffers(connection, statement, DUE - DEFAULT_RETENTION, DUE)
    assert read < 100


async def buffers(connection: "Connection", statement: str, *arguments: object) -> int:
    """How many pages a statement touches."""
    lines = await connection.fetch(f"explain (analyze, buffers, format text) {statement}", *arguments)
    (first,) = [line[0] for line in lines if "Buffers: shared" in line[0]][:1]
    return sum(int(part.split("=")[1]) for part in first.split() if part.startswith(("hit=", "read=")))


def test_the_slot_of_these_tests_is_not_the_rest() -> None:
    assert SLOT != REST
    assert queued().id.startswith("job_")
