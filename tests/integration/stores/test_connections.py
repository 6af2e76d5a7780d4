"""Connections: kept over what a row brings upon itself, given up for anything else."""

import asyncio
from collections.abc import AsyncIterator

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
