"""Contract of `Replicas`."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis

from stores.memory_replicas import MemoryReplicas
from stores.redis import RedisReplicas
from stores.replicas import Replica, ReplicaReporter, Replicas
from tests.waiting import eventually

GATEWAY = Replica("gw-1", "gateway", {"digits": 7, "vector": 1})
ROUTER = Replica("router-1", "router", {})


@pytest.fixture(params=["memory", "redis-2", "redis-3"])
async def replicas(request: pytest.FixtureRequest, topic_prefix: str) -> AsyncIterator[Replicas]:
    """The twin, or a Redis spoken to in protocol 2 or 3."""
    if request.param == "memory":
        yield MemoryReplicas()
        return
    url = f"{request.getfixturevalue('redis_url')}?protocol={request.param[-1]}"
    async with RedisReplicas(url, prefix=topic_prefix) as replicas:
        yield replicas


async def test_where_nobody_has_reported_there_is_nobody(replicas: Replicas) -> None:
    assert list(await replicas.all()) == []
    await replicas.leave("gw-1", "gateway")


async def test_all_that_reported_are_told_with_what_they_said_last(replicas: Replicas) -> None:
    await replicas.report(ROUTER)
    await replicas.report(Replica("gw-2", "gateway", {"digits": 6}))
    await replicas.report(GATEWAY)
    await replicas.report(Replica("gw-2", "gateway", {"digits": 7}))
    assert list(await replicas.all()) == [GATEWAY, Replica("gw-2", "gateway", {"digits": 7}), ROUTER]


async def test_who_leaves_is_told_no_more_and_may_come_back(replicas: Replicas) -> None:
    await replicas.report(GATEWAY)
    await replicas.report(ROUTER)
    await replicas.leave("gw-1", "gateway")
    assert list(await replicas.all()) == [ROUTER]
    await replicas.report(GATEWAY)
    assert list(await replicas.all()) == [GATEWAY, ROUTER]


async def test_two_roles_of_one_name_are_two(replicas: Replicas) -> None:
    await replicas.report(Replica("host-1", "gateway", {"digits": 1}))
    await replicas.report(Replica("host-1", "router", {"digits": 2}))
    assert [each.revisions for each in await replicas.all()] == [{"digits": 1}, {"digits": 2}]
    await replicas.leave("host-1", "gateway")
    assert [each.role for each in await replicas.all()] == ["router"]


async def test_a_reporter_says_what_is_new_at_once_and_leaves_in_the_end(replicas: Replicas) -> None:
    revisions = {"digits": 7, "vector": 1}
    reporter = ReplicaReporter(replicas, "gw-1", "gateway", lambda: revisions)
    reporting = asyncio.create_task(reporter.run())

    async def told() -> list[dict[str, int]]:
        return [each.revisions for each in await replicas.all()]

    async def is_told(expected: dict[str, int]) -> bool:
        return await told() == [expected]

    await eventually(lambda: is_told({"digits": 7, "vector": 1}))
    del revisions["vector"]
    revisions["digits"] = 8
    reporter.news()
    await eventually(lambda: is_told({"digits": 8}), timeout_s=4)  # before it would be said again anyhow
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)
    assert await told() == []


async def test_who_has_been_silent_for_long_is_forgotten_and_named_no_more(redis_url: str, topic_prefix: str) -> None:
    async with RedisReplicas(redis_url, prefix=topic_prefix, kept_s=0.05) as replicas:
        await replicas.report(GATEWAY)

        async def is_forgotten() -> bool:
            return list(await replicas.all()) == []

        await eventually(is_forgotten)
        client = redis.from_url(redis_url)
        assert await client.exists(f"{topic_prefix}.replicas.v1") == 0
        await client.aclose()


async def test_what_another_has_written_in_the_place_of_a_report_is_passed_over(
    redis_url: str, topic_prefix: str
) -> None:
    async with RedisReplicas(redis_url, prefix=topic_prefix) as replicas:
        await replicas.report(GATEWAY)
        await replicas.report(ROUTER)
        client = redis.from_url(redis_url)
        await client.set(f"{topic_prefix}.replicas.v1:gateway/gw-1", b"\xff{")
        await client.aclose()
        assert list(await replicas.all()) == [ROUTER]
