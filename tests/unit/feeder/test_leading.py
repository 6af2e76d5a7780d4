"""One feeder feeds; another goes on when it has gone, whichever way it went."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stores.batches import LEAD_S, Lead, LeadLost
from stores.memory_batches import BatchState, MemoryBatchWork
from tests.waiting import LoopClock, eventually, soon
from workers.feeder.leading import STAND_BY_S, Leading


class Feeding:
    """Feeds until it is told to stop, and then ends what it has under way once `go` is set."""

    def __init__(self, ends_with: Exception | None = None) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.rounds_ended = 0
        self.cut_off = False
        self._ends_with = ends_with

    async def feed(self, _: Lead, stop: asyncio.Event) -> None:
        self.begun.set()
        if self._ends_with is not None:
            raise self._ends_with
        try:
            await stop.wait()
            await self.go.wait()
            self.rounds_ended += 1
        except asyncio.CancelledError:
            self.cut_off = True
            raise


class Place:
    def __init__(self) -> None:
        self.state = BatchState()
        self.work = MemoryBatchWork(self.state, clock_s=lambda: asyncio.get_running_loop().time())

    @asynccontextmanager
    async def feeder(self, feeding: Feeding) -> AsyncIterator[tuple[Leading, asyncio.Event]]:
        leading, stop = Leading(self.work), asyncio.Event()
        running = asyncio.ensure_future(leading.run(feeding.feed, stop))
        try:
            yield leading, stop
            stop.set()
            feeding.go.set()
            await soon(running)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_second_feeder_stands_by_and_feeds_once_the_first_has_left() -> None:
    place, first, second = Place(), Feeding(), Feeding()
    async with place.feeder(first) as (_, stop):
        await soon(first.begun.wait())
        async with place.feeder(second) as (standing, _):
            await eventually(lambda: standing.trouble is None)
            assert (standing.leads, second.begun.is_set()) == (False, False)
            first.go.set()
            stop.set()
            await soon(second.begun.wait())
    assert (first.rounds_ended, second.rounds_ended) == (1, 1)


async def test_a_feeder_that_is_killed_is_followed_within_ten_seconds(loop_clock: LoopClock) -> None:
    assert LEAD_S + STAND_BY_S < 10
    place, second = Place(), Feeding()
    assert await place.work.lead("killed")
    async with place.feeder(second) as (standing, _):
        await eventually(lambda: standing.trouble is None)
        loop_clock.pass_s(LEAD_S + STAND_BY_S)
        await soon(second.begun.wait())


async def test_the_round_under_way_is_ended_before_the_lease_is_left() -> None:
    place, feeding = Place(), Feeding()
    async with place.feeder(feeding) as (leading, stop):
        await soon(feeding.begun.wait())
        stop.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert await place.work.lead("another") is None
        assert leading.leads
        feeding.go.set()
    assert (feeding.rounds_ended, feeding.cut_off) == (1, False)
    assert await place.work.lead("another")


async def test_a_round_that_does_not_end_is_cut_off() -> None:
    place, feeding, stop = Place(), Feeding(), asyncio.Event()
    running = asyncio.ensure_future(Leading(place.work, drain_s=0.05).run(feeding.feed, stop))
    await soon(feeding.begun.wait())
    stop.set()
    await soon(running)
    assert feeding.cut_off
    assert await place.work.lead("another")


async def test_who_loses_the_lease_stands_by_again() -> None:
    place, feeding, stop = Place(), Feeding(LeadLost()), asyncio.Event()
    running = asyncio.ensure_future(Leading(place.work, stand_by_s=0.01).run(feeding.feed, stop))
    await soon(feeding.begun.wait())
    feeding.begun.clear()
    await soon(feeding.begun.wait())
    stop.set()
    await soon(running)


async def test_what_nobody_foresaw_ends_the_feeder() -> None:
    place = Place()
    with pytest.raises(ZeroDivisionError):
        await soon(Leading(place.work).run(Feeding(ZeroDivisionError()).feed, asyncio.Event()))
    assert await place.work.lead("another"), "the lease is left all the same"


async def test_a_store_that_is_away_is_the_trouble() -> None:
    place, feeding = Place(), Feeding()
    place.state.down = True
    async with place.feeder(feeding) as (leading, _):
        await eventually(lambda: leading.trouble == "down")
        place.state.down = False
        await soon(feeding.begun.wait())
        assert leading.trouble is None
