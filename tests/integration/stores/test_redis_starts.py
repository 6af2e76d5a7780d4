"""Counts of starts in a real Redis: they go by themselves, and outlive what Redis itself forgets."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis

from schemas.errors import StoreUnavailable
from stores.protocols import JobKey
from stores.redis import RedisStarts
from tests.integration.stores.gate import Gate
from tests.waiting import at_once, eventually, soon

KEYS = [JobKey("default", "job_1"), JobKey("default", "job_2")]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.Redis]:
    async with redis.Redis.from_url(redis_url) as client:
        yield client


async def test_counts_expire_some_time_after_the_last_start(
    redis_url: str, topic_prefix: str, client: redis.Redis
) -> None:
    async with RedisStarts(redis_url, prefix=topic_prefix, kept_s=100) as starts:
        await starts.count(KEYS)
    async with RedisStarts(redis_url, prefix=topic_prefix, kept_s=1000) as starts:
        await starts.count_again(KEYS[0])
    assert 900 < await client.ttl(f"{topic_prefix}.starts.v1:default/job_1") <= 1000
    assert 0 < await client.ttl(f"{topic_prefix}.starts.v1:default/job_2") <= 100


async def test_nothing_is_left_of_what_is_forgotten(redis_url: str, topic_prefix: str, client: redis.Redis) -> None:
    async with RedisStarts(redis_url, prefix=topic_prefix) as starts:
        await starts.count(KEYS)
        await starts.forget(KEYS)
    assert await client.keys(f"{topic_prefix}*") == []


async def test_a_redis_that_has_forgotten_our_scripts_learns_them_again(
    redis_url: str, topic_prefix: str, client: redis.Redis
) -> None:
    async with RedisStarts(redis_url, prefix=topic_prefix) as starts:
        await starts.count(KEYS)
        await client.script_flush()
        assert list(await starts.count(KEYS)) == [1, 1]


async def test_a_redis_that_hangs_holds_up_one_count_and_then_none(redis_url: str, topic_prefix: str) -> None:
    async with (
        Gate(redis_url) as gate,
        RedisStarts(gate.url, prefix=topic_prefix, timeout_s=0.2, pause_s=60) as starts,
    ):
        await starts.count(KEYS)
        gate.hold()
        with pytest.raises(StoreUnavailable):
            await soon(starts.count(KEYS))
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await at_once(starts.count(KEYS))


async def test_a_count_that_was_given_up_does_not_answer_the_next(redis_url: str, topic_prefix: str) -> None:
    async with (
        Gate(redis_url) as gate,
        RedisStarts(gate.url, prefix=topic_prefix, timeout_s=0.2, pause_s=0.0) as starts,
    ):
        await starts.count(KEYS[:1])
        gate.hold()
        with pytest.raises(StoreUnavailable):
            await starts.count(KEYS[:1])
        gate.release()
        assert list(await starts.count(KEYS)) == [1, 0]


async def test_a_connection_that_was_closed_while_nothing_was_asked_is_opened_anew(
    redis_url: str, topic_prefix: str
) -> None:
    async with Gate(redis_url) as gate, RedisStarts(gate.url, prefix=topic_prefix) as starts:
        await starts.count(KEYS[:1])
        connection = starts._connection._opened
        assert connection is not None
        await gate.shut()
        await gate.open()
        await eventually(connection.can_read)
        assert list(await starts.count(KEYS)) == [1, 0]


async def test_a_redis_that_refuses_to_write_is_not_available(
    redis_url: str, topic_prefix: str, client: redis.Redis
) -> None:
    async with RedisStarts(redis_url, prefix=topic_prefix) as starts:
        await client.set(f"{topic_prefix}.starts.v1:default/job_1", "no number")
        with pytest.raises(StoreUnavailable):
            await starts.count_again(KEYS[0])


async def test_what_is_no_count_is_one_start_and_upsets_nobody(
    redis_url: str, topic_prefix: str, client: redis.Redis
) -> None:
    async with RedisStarts(redis_url, prefix=topic_prefix) as starts:
        await client.set(f"{topic_prefix}.starts.v1:default/job_1", "no number")
        assert list(await starts.count(KEYS)) == [1, 0]
