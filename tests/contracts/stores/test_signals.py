"""Contract of `Signals` and `News`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from schemas.jobs import Payload
from stores.memory_signals import MemorySignals
from stores.protocols import JobKey, News, Signals
from stores.redis import RedisNews, RedisSignals
from tests.contracts.stores.building import NOW, Clock, ended, key_of, queued
from tests.waiting import eventually, soon

KEYS = [JobKey("default", "job_1"), JobKey("tenant é", "job_2")]
DEADLINE = NOW + timedelta(minutes=10)


class Ends(NamedTuple):
    """Both ends, and how another listener comes to be."""

    signals: Signals
    news: News


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis-2", "redis-3"])
def url(request: pytest.FixtureRequest) -> str | None:
    """A Redis spoken to in protocol 2 or 3, or None for the twin."""
    if request.param == "memory":
        return None
    return f"{request.getfixturevalue('redis_url')}?protocol={request.param[-1]}"


@pytest.fixture
async def ends(url: str | None, topic_prefix: str, clock: Clock) -> AsyncIterator[Ends]:
    if url is None:
        memory = MemorySignals(clock)
        yield Ends(memory, memory)
        return
    async with (
        RedisSignals(url, prefix=topic_prefix, clock=clock) as signals,
        RedisNews(url, prefix=topic_prefix, clock=clock) as news,
    ):
        yield Ends(signals, news)


@asynccontextmanager
async def heard(news: News, listen: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[list[Any]]:
    """What an iterator has given so far; entered once it listens."""
    so_far: list[Any] = []
    reads = asyncio.Event()

    async def read() -> None:
        reads.set()
        async for item in listen():
            so_far.append(item)  # noqa: PERF401 - one by one is the point

    reading = asyncio.create_task(read())
    try:
        await reads.wait()
        await eventually(lambda: news.connected, what="connected")
        yield so_far
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def test_a_gateway_is_told_the_ends_it_waits_for_before_all_hear_of_them(ends: Ends) -> None:
    mine = ended(queued(), reply_to="gw-1")
    other = ended(queued(), reply_to="gw-2")
    keys = [key_of(mine), key_of(other)]
    async with heard(ends.news, lambda: ends.news.done("gw-1")) as so_far:
        await ends.signals.announce_done(keys, [mine, other])
        await eventually(lambda: len(so_far) == 2)
    assert so_far == [[mine], keys]


async def test_many_large_ends_are_told_in_several_messages(ends: Ends) -> None:
    result = Payload(b"7" * 60_000)
    told = [ended(queued(), reply_to="gw-1", result=result) for _ in range(40)]
    async with heard(ends.news, lambda: ends.news.done("gw-1")) as so_far:
        await ends.signals.announce_done([key_of(end) for end in told], told)
        await eventually(lambda: sum(map(len, so_far)) == 2 * len(told))
    assert [end for message in so_far[:-1] for end in message] == told
    assert len(so_far) > 2 or isinstance(ends.signals, MemorySignals)


async def test_finished_jobs_are_heard_of_in_batches(ends: Ends) -> None:
    async with heard(ends.news, ends.news.done) as so_far:
        await ends.signals.announce_done(KEYS)
        await ends.signals.announce_done(KEYS[:1])
        await eventually(lambda: len(so_far) == 2)
    assert so_far == [KEYS, KEYS[:1]]
    assert all(isinstance(key, JobKey) for keys in so_far for key in keys)


async def test_running_jobs_are_heard_of_with_their_start(ends: Ends) -> None:
    async with heard(ends.news, ends.news.running) as so_far:
        await ends.signals.announce_running(KEYS, NOW)
        await eventually(lambda: so_far)
    assert so_far == [(KEYS, NOW)]


async def test_every_listener_hears_the_same(ends: Ends) -> None:
    async with heard(ends.news, ends.news.done) as one, heard(ends.news, ends.news.done) as two:
        await ends.signals.announce_done(KEYS)
        await eventually(lambda: one and two)
    assert one == two == [KEYS]


async def test_news_of_one_kind_are_not_heard_as_another(ends: Ends) -> None:
    async with heard(ends.news, ends.news.done) as done, heard(ends.news, ends.news.running) as running:
        await ends.signals.announce_cancel(KEYS[0], DEADLINE)
        await ends.signals.announce_running(KEYS, NOW)
        await ends.signals.announce_done(KEYS)
        await eventually(lambda: done and running)
    assert (len(done), len(running)) == (1, 1)


async def test_nothing_is_announced_for_no_jobs(ends: Ends) -> None:
    async with heard(ends.news, ends.news.done) as done, heard(ends.news, ends.news.running) as running:
        await ends.signals.announce_done([])
        await ends.signals.announce_running([], NOW)
        await ends.signals.announce_done(KEYS)
        await ends.signals.announce_running(KEYS, NOW)
        await eventually(lambda: done and running)
    assert (done, running) == ([KEYS], [(KEYS, NOW)])


async def test_a_cancellation_is_heard_with_its_deadline(ends: Ends) -> None:
    async with heard(ends.news, ends.news.canceled) as so_far:
        await ends.signals.announce_cancel(KEYS[1], DEADLINE)
        await eventually(lambda: so_far)
    assert so_far == [(KEYS[1], DEADLINE)]


async def test_who_comes_late_hears_the_older_cancellations_first(ends: Ends) -> None:
    for key in KEYS:
        await ends.signals.announce_cancel(key, DEADLINE)
    async with heard(ends.news, ends.news.canceled) as so_far:
        await eventually(lambda: len(so_far) == 2)
        await ends.signals.announce_cancel(JobKey("default", "job_3"), DEADLINE)
        await eventually(lambda: len(so_far) == 3)
    assert [key.id for key, _ in so_far] == ["job_1", "job_2", "job_3"]


async def test_cancellations_whose_deadline_has_passed_are_of_no_interest(ends: Ends, clock: Clock) -> None:
    await ends.signals.announce_cancel(JobKey("default", "past"), NOW + timedelta(seconds=5))
    await ends.signals.announce_cancel(JobKey("default", "ahead"), NOW + timedelta(seconds=50))
    clock.forward(seconds=5)
    async with heard(ends.news, ends.news.canceled) as so_far:
        await ends.signals.announce_cancel(JobKey("default", "late"), NOW + timedelta(seconds=4))
        await ends.signals.announce_cancel(JobKey("default", "last"), NOW + timedelta(seconds=50))
        await eventually(lambda: len(so_far) == 2)
    assert [key.id for key, _ in so_far] == ["ahead", "last"]


async def test_hundreds_of_cancellations_are_all_heard(ends: Ends) -> None:
    for number in range(300):
        await ends.signals.announce_cancel(JobKey("default", f"job_{number}"), DEADLINE)
    async with heard(ends.news, ends.news.canceled) as so_far:
        await eventually(lambda: len(so_far) == 300)
    assert [key.id for key, _ in so_far] == [f"job_{number}" for number in range(300)]


async def test_a_listener_can_be_stopped_in_the_moment_it_hears_something(ends: Ends) -> None:
    for number in range(10):
        heard_it = asyncio.Event()

        async def read(number: int = number, heard_it: asyncio.Event = heard_it) -> None:
            async for key, _ in ends.news.canceled():
                if key.id == f"job_{number}":
                    heard_it.set()

        reading = asyncio.create_task(read())
        await ends.signals.announce_cancel(JobKey("default", f"job_{number}"), DEADLINE)
        await heard_it.wait()
        reading.cancel()
        await soon(asyncio.wait([reading]))
        assert reading.cancelled()


async def test_without_a_listener_nothing_is_connected(ends: Ends) -> None:
    def connected() -> bool:
        return ends.news.connected

    assert not connected()
    async with heard(ends.news, ends.news.done):
        assert connected()
    await eventually(lambda: not connected())
