"""Connections: kept over what a row brings upon itself, given up for anything else."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from schemas.errors import InvalidInput, StoreUnavailable
from stores.postgres.calls import Postgres


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[Postgres]:
    async with Postgres(postgres_dsn, connections=1, timeout_s=0.5) as opened:
        yield opened


async def session(store: Postgres) -> int:
    (row,) = await store.fetch("select pg_backend_pid()")
    pid: int = row[0]
    return pid


async def test_a_bad_row_costs_its_statement_and_no_connection(store: Postgres) -> None:
    before = await session(store)
    for _ in range(2):
        with pytest.raises(InvalidInput):
            await store.fetch("select $1::text::json", "no json")
    assert await session(store) == before


async def test_a_statement_that_takes_too_long_is_perhaps_done_and_its_connection_is_replaced(store: Postgres) -> None:
    before = await session(store)
    with pytest.raises(StoreUnavailable) as raised:
        await store.fetch("select pg_sleep(20)")
    assert raised.value.perhaps_done
    assert await session(store) != before


async def test_a_canceled_statement_leaves_a_lane_that_works(store: Postgres) -> None:
    before = await session(store)
    running = asyncio.ensure_future(store.fetch("select pg_sleep(20)"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(running, 0.1)
    assert await session(store) != before


@pytest.mark.parametrize(("only_inserts", "kept"), [(True, 3), (False, 0)])
async def test_only_what_reads_no_table_keeps_its_plan(postgres_dsn: str, *, only_inserts: bool, kept: int) -> None:
    counting = "select sum(generic_plans) from pg_prepared_statements where statement = $1"
    statement = "select $1::text"
    async with Postgres(postgres_dsn, connections=1, only_inserts=only_inserts) as store:
        for _ in range(3):
            await store.fetch(statement, "text")
        (row,) = await store.fetch(counting, statement)
    assert row[0] == kept


async def test_a_call_that_finds_no_connection_free_in_time_was_certainly_not_run(postgres_dsn: str) -> None:
    async with Postgres(postgres_dsn, connections=1, timeout_s=0.5) as store:
        async with store.connection():
            with pytest.raises(StoreUnavailable) as raised:
                await store.fetch("select 1")
        assert not raised.value.perhaps_done
        assert await store.fetch("select 1")


async def test_an_error_of_ours_costs_no_connection(store: Postgres) -> None:
    before = await session(store)
    with pytest.raises(InvalidInput):
        async with store.transaction():
            raise InvalidInput("ours")
    assert await session(store) == before


async def test_leaving_while_a_statement_hangs_ends_it_in_time(postgres_dsn: str) -> None:
    async with Postgres(postgres_dsn, connections=2, timeout_s=0.3) as store:
        async with store.connection() as held:
            running = asyncio.ensure_future(held.execute("select pg_sleep(20)", timeout=20))
            started_s = time.monotonic()
            await store.__aexit__()
            assert time.monotonic() - started_s < 3
            with pytest.raises(asyncpg.PostgresError):
                await running
        with pytest.raises(StoreUnavailable):
            await store.fetch("select 1")


async def test_connections_that_are_not_opened_ahead_are_opened_by_who_needs_one(postgres_dsn: str) -> None:
    async with Postgres(postgres_dsn, connections=2, ahead=False) as store:
        assert store._free == []
        assert await session(store) == await session(store)
        assert len(store._free) == 1


async def test_what_is_opened_later_finds_nobody_there_when_it_is_needed() -> None:
    async with Postgres("postgresql://127.0.0.1:1/none", connections=1, ahead=False) as store:
        with pytest.raises(StoreUnavailable):
            await store.fetch("select 1")
