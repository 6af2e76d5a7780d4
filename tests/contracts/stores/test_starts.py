"""Contract of `Starts`."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stores.memory_starts import MemoryStarts
from stores.protocols import JobKey, Starts
from stores.redis import RedisStarts

ONE, TWO, THREE = JobKey("default", "job_1"), JobKey("tenant é", "topic.v1-0-17"), JobKey("default", "job_3")


@pytest.fixture(params=["memory", "redis-2", "redis-3"])
async def starts(request: pytest.FixtureRequest, topic_prefix: str) -> AsyncIterator[Starts]:
    """The twin, or a Redis spoken to in protocol 2 or 3."""
    if request.param == "memory":
        yield MemoryStarts()
        return
    url = f"{request.getfixturevalue('redis_url')}?protocol={request.param[-1]}"
    async with RedisStarts(url, prefix=topic_prefix) as starts:
        yield starts


async def test_jobs_that_were_never_started_have_no_earlier_starts(starts: Starts) -> None:
    assert list(await starts.count([ONE, TWO])) == [0, 0]


async def test_a_job_that_was_started_before_is_told_and_not_counted_in_company(starts: Starts) -> None:
    await starts.count([ONE])
    assert list(await starts.count([TWO, ONE, THREE])) == [0, 1, 0]
    assert list(await starts.count([ONE, TWO, THREE])) == [1, 1, 1]


async def test_each_start_of_a_job_alone_is_counted(starts: Starts) -> None:
    assert [await starts.count_again(ONE) for _ in range(3)] == [0, 1, 2]
    assert list(await starts.count([ONE, TWO])) == [3, 0]


async def test_what_is_forgotten_was_never_started(starts: Starts) -> None:
    await starts.count([ONE, TWO, THREE])
    await starts.count_again(ONE)
    await starts.forget([ONE, THREE])
    assert list(await starts.count([ONE, TWO, THREE])) == [0, 1, 0]


async def test_what_has_ended_is_forgotten_before_the_next_are_counted(starts: Starts) -> None:
    await starts.count([ONE, TWO])
    assert list(await starts.count([ONE, THREE], ended=[ONE, TWO])) == [0, 0]
    assert list(await starts.count([ONE, TWO, THREE])) == [1, 0, 1]


async def test_counts_that_are_asked_for_at_once_do_not_mix_their_answers(starts: Starts) -> None:
    await starts.count([ONE])
    await starts.count_again(TWO)
    answers = await asyncio.gather(starts.count([ONE, THREE]), starts.count_again(TWO), starts.count([THREE, TWO]))
    assert [list(answers[0]), answers[1], list(answers[2])] == [[1, 0], 1, [1, 2]]


async def test_jobs_of_other_tenants_are_other_jobs(starts: Starts) -> None:
    await starts.count([JobKey("default", "job_1")])
    assert list(await starts.count([JobKey("other", "job_1")])) == [0]


async def test_thousands_are_counted_and_forgotten_at_once(starts: Starts) -> None:
    keys = [JobKey("default", f"job_{number}") for number in range(10_000)]
    assert not any(await starts.count(keys))
    assert set(await starts.count(keys)) == {1}
    await starts.forget(keys)
    assert not any(await starts.count(keys))


async def test_what_nobody_counted_can_be_forgotten(starts: Starts) -> None:
    await starts.forget([ONE])
    await starts.forget([])
    assert list(await starts.count([])) == []
