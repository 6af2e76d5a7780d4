"""Redis may vanish: announcements fail fast, and news flow again once it is back."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack
from runtime.clock import now_utc
from schemas.errors import StoreUnavailable
from stores.protocols import JobKey
from stores.redis import RedisNews, RedisSignals
from tests.integration.stores.gate import Gate
from tests.waiting import at_once, eventually, soon

KEYS = [JobKey("default", "job_1")]


@pytest.fixture
async def gate(redis_url: str) -> AsyncIterator[Gate]:
    async with Gate(redis_url) as gate:
        yield gate


class Listening:
    """Reads an iterator in the background."""

    def __init__(self, news: RedisNews) -> None:
        self.done: list[JobKey] = []
        self.canceled: list[str] = []
        self._news = news

    async def __aenter__(self) -> "Listening":
        self._tasks = [asyncio.create_task(self._read_done()), asyncio.create_task(self._read_canceled())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _read_done(self) -> None:
        async for keys in self._news.done():
            self.done += [key for key in keys if isinstance(key, JobKey)]

    async def _read_canceled(self) -> None:
        async for key, _ in self._news.canceled():
            self.canceled.append(key.id)


async def announced(signals: RedisSignals, keys: list[JobKey]) -> bool:
    try:
        await signals.announce_done(keys)
    except StoreUnavailable:
        return False
    return True


async def test_announcements_to_a_closed_door_fail_at_once_and_pass_when_it_opens(
    gate: Gate, topic_prefix: str
) -> None:
    async with RedisSignals(gate.url, prefix=topic_prefix, timeout_s=60) as signals:
        await signals.announce_done(KEYS)
        await gate.shut()
        for announcing in (
            signals.announce_done(KEYS),
            signals.announce_running(KEYS, now_utc()),
            signals.announce_cancel(KEYS[0], now_utc()),
        ):
            with pytest.raises(StoreUnavailable) as raised:
                await soon(announcing)
            assert raised.value.__cause__ is not None
        await gate.open()
        await signals.announce_done(KEYS)


async def test_announcements_to_a_redis_that_hangs_give_up_in_time_and_then_at_once(
    gate: Gate, topic_prefix: str
) -> None:
    async with RedisSignals(gate.url, prefix=topic_prefix, timeout_s=0.3, pause_s=60) as signals:
        await signals.announce_done(KEYS)
        gate.hold()
        many = (signals.announce_done(KEYS) for _ in range(200))
        together = await soon(asyncio.gather(*many, return_exceptions=True))
        assert all(isinstance(outcome, StoreUnavailable) for outcome in together)
        with pytest.raises(StoreUnavailable):
            await at_once(signals.announce_done(KEYS))


async def test_announcements_pass_again_after_a_redis_that_hung(gate: Gate, topic_prefix: str) -> None:
    async with RedisSignals(gate.url, prefix=topic_prefix, timeout_s=0.2, pause_s=0.2) as signals:
        gate.hold()
        with pytest.raises(StoreUnavailable):
            await signals.announce_done(KEYS)
        gate.release()
        await eventually(lambda: announced(signals, KEYS))


async def test_news_flow_again_after_the_connection_was_cut(gate: Gate, redis_url: str, topic_prefix: str) -> None:
    async with (
        RedisSignals(redis_url, prefix=topic_prefix) as signals,
        RedisNews(gate.url, prefix=topic_prefix) as news,
        Listening(news) as heard,
    ):
        await eventually(lambda: news.connected)
        await gate.shut()
        await eventually(lambda: not news.connected)
        in_ten_minutes = now_utc() + timedelta(minutes=10)
        await signals.announce_cancel(JobKey("default", "meanwhile"), in_ten_minutes)
        await gate.open()
        await eventually(lambda: news.connected)
        await signals.announce_done(KEYS)
        await signals.announce_cancel(JobKey("default", "afterwards"), in_ten_minutes)
        await eventually(lambda: heard.done and len(heard.canceled) == 2)
    assert heard.canceled == ["meanwhile", "afterwards"]


async def test_a_connection_on_which_nothing_comes_is_given_up(gate: Gate, topic_prefix: str) -> None:
    async with (
        RedisNews(gate.url, prefix=topic_prefix, quiet_s=0.2) as news,
        Listening(news),
    ):
        await eventually(lambda: news.connected)
        gate.hold()
        await eventually(lambda: not news.connected)
        gate.release()
        await eventually(lambda: news.connected)


async def test_a_quiet_connection_that_lives_is_kept(gate: Gate, redis_url: str, topic_prefix: str) -> None:
    async with (
        RedisSignals(redis_url, prefix=topic_prefix) as signals,
        RedisNews(gate.url, prefix=topic_prefix, quiet_s=0.05) as news,
        Listening(news) as heard,
    ):
        await eventually(lambda: news.connected)
        until_s = time.monotonic() + 0.5

        def stayed_connected() -> bool:
            assert news.connected
            return time.monotonic() > until_s

        await eventually(stayed_connected)
        await signals.announce_done(KEYS)
        await eventually(lambda: heard.done == KEYS)


async def test_news_need_no_redis_to_start(gate: Gate, redis_url: str, topic_prefix: str) -> None:
    await gate.shut()
    async with (
        RedisSignals(redis_url, prefix=topic_prefix) as signals,
        RedisNews(gate.url, prefix=topic_prefix) as news,
        Listening(news) as heard,
    ):
        assert not news.connected
        await gate.open()
        await eventually(lambda: news.connected)
        await signals.announce_done(KEYS)
        await eventually(lambda: heard.done == KEYS)


async def test_what_others_write_to_our_channels_is_passed_over(redis_url: str, topic_prefix: str) -> None:
    import redis.asyncio as redis  # noqa: PLC0415

    async with (
        redis.Redis.from_url(redis_url) as stranger,
        RedisSignals(redis_url, prefix=topic_prefix) as signals,
        RedisNews(redis_url, prefix=topic_prefix) as news,
        Listening(news) as heard,
    ):
        await eventually(lambda: news.connected)
        for nonsense in (b"", b"\xff", b"{}", b'[["one"]]'):
            await stranger.publish(f"{topic_prefix}.done.v1", nonsense)
        await stranger.xadd(f"{topic_prefix}.canceled.v1", {"what": "ever"})
        await stranger.xadd(f"{topic_prefix}.canceled.v1", {b"tenant": b"\xff", b"id": b"x", b"expires_at": b"now"})
        await signals.announce_done(KEYS)
        await signals.announce_cancel(KEYS[0], now_utc() + timedelta(minutes=1))
        await eventually(lambda: heard.done and heard.canceled)
        assert news.connected
    assert (heard.done, heard.canceled) == (KEYS, ["job_1"])


async def test_an_announcement_that_redis_refuses_leaves_the_next_its_own_answer(
    redis_url: str, topic_prefix: str
) -> None:
    import redis.asyncio as redis  # noqa: PLC0415

    async with redis.Redis.from_url(redis_url) as client, RedisSignals(redis_url, prefix=topic_prefix) as signals:
        await client.set(f"{topic_prefix}.canceled.v1", "no stream")
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await signals.announce_cancel(KEYS[0], now_utc() + timedelta(minutes=1))
            await signals.announce_done(KEYS)


async def test_installations_under_other_prefixes_hear_nothing(redis_url: str, topic_prefix: str) -> None:
    async with (
        RedisSignals(redis_url, prefix=f"{topic_prefix}-other") as other,
        RedisSignals(redis_url, prefix=topic_prefix) as ours,
        RedisNews(redis_url, prefix=topic_prefix) as news,
        Listening(news) as heard,
    ):
        await eventually(lambda: news.connected)
        await other.announce_done([JobKey("default", "other")])
        await other.announce_cancel(JobKey("default", "other"), now_utc() + timedelta(minutes=1))
        await ours.announce_done(KEYS)
        await ours.announce_cancel(KEYS[0], now_utc() + timedelta(minutes=1))
        await eventually(lambda: heard.done and heard.canceled)
    assert (heard.done, heard.canceled) == (KEYS, ["job_1"])


async def test_cancellations_older_than_the_longest_deadline_are_trimmed(redis_url: str, topic_prefix: str) -> None:
    import redis.asyncio as redis  # noqa: PLC0415

    stream = f"{topic_prefix}.canceled.v1"
    async with (
        redis.Redis.from_url(redis_url) as client,
        RedisSignals(redis_url, prefix=topic_prefix, longest_deadline_s=3600) as signals,
    ):
        day_ago_ms = int((now_utc() - timedelta(days=1)).timestamp() * 1000)
        for number in range(1000):  # enough for whole nodes of the stream, the unit of trimming
            await client.xadd(stream, {"tenant": "t", "id": "old", "expires_at": "x"}, id=f"{day_ago_ms}-{number + 1}")
        await signals.announce_cancel(KEYS[0], now_utc() + timedelta(minutes=1))
        assert await client.xlen(stream) < 200


async def test_news_flow_again_after_redis_was_restarted(topic_prefix: str) -> None:
    async with EmbeddedStack(None, services=frozenset([Service.VALKEY])) as stack:
        url = stack.redis_url
        async with (
            RedisSignals(url, prefix=topic_prefix) as signals,
            RedisNews(url, prefix=topic_prefix) as news,
            Listening(news) as heard,
        ):
            await eventually(lambda: news.connected)
            await stack.valkey.stop()
            await eventually(lambda: not news.connected)
            assert not await announced(signals, KEYS)
            await stack.valkey.start()
            await eventually(lambda: news.connected)
            await signals.announce_done(KEYS)
            await signals.announce_cancel(KEYS[0], now_utc() + timedelta(minutes=1))
            await eventually(lambda: heard.done and heard.canceled)
    assert heard.done == KEYS
