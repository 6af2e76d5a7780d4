"""The connections of lanes: kept over what a row brings upon itself, given up for anything else."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from schemas.errors import InvalidInput, StoreUnavailable
from stores.postgres.lanes import Lanes


@pytest.fixture
async def lane(postgres_dsn: str) -> AsyncIterator[Lanes]:
    async with Lanes(postgres_dsn, lanes=1, timeout_s=0.5) as opened:
        yield opened


async def session(lane: Lanes) -> int:
    (row,) = await lane.fetch("select pg_backend_pid()")
    pid: int = row[0]
    return pid


async def test_a_bad_row_costs_its_statement_and_no_connection(lane: Lanes) -> None:
    before = await session(lane)
    for _ in range(2):
        with pytest.raises(InvalidInput):
            await lane.fetch("select $1::text::json", "no json")
    assert await session(lane) == before


async def test_a_statement_that_takes_too_long_is_perhaps_done_and_its_connection_is_replaced(lane: Lanes) -> None:
    before = await session(lane)
    with pytest.raises(StoreUnavailable) as raised:
        await lane.fetch("select pg_sleep(20)")
    assert raised.value.perhaps_done
    assert await session(lane) != before


async def test_a_canceled_statement_leaves_a_lane_that_works(lane: Lanes) -> None:
    before = await session(lane)
    running = asyncio.ensure_future(lane.fetch("select pg_sleep(20)"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(running, 0.1)
    assert await session(lane) != before
