"""Hearing the news."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from runtime.backoff import delays_s
from runtime.clock import Clock, now_utc
from runtime.logs import get_logger
from schemas.jobs import Terminal
from stores.protocols import JobKey
from stores.redis.codec import LONGEST_DEADLINE_S, Names, decode_done, decode_ends, decode_running
from stores.redis.refusals import tell_lost
from stores.redis.subscriptions import CancelStream, Channels, published

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

log = get_logger(__name__)

Heard = TypeVar("Heard")

# Items, and None for "connected, nothing new". Raises when the connection is lost.
_Source: TypeAlias = "Callable[[redis.Redis], AsyncGenerator[Heard | None, None]]"


class RedisNews:
    """`News` from Redis or Valkey. Use as `async with`; needs no Redis to start.

    Nothing is buffered here: a reader that lags holds up its connection, and Redis drops that one in the end.
    A connection on which nothing comes for `quiet_s`, not even the answer to a ping, is given up.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        longest_deadline_s: float = LONGEST_DEADLINE_S,
        quiet_s: float = 5.0,
        longest_delay_s: float = 2.0,
        clock: Clock = now_utc,
    ) -> None:
        self._url = url
        self._names = Names(prefix)
        self._longest_deadline = timedelta(seconds=longest_deadline_s)
        self._quiet_s = quiet_s
        self._longest_delay_s = longest_delay_s
        self._clock = clock
        self._flowing: dict[object, bool] = {}
        self._opened: redis.Redis | None = None

    async def __aenter__(self) -> Self:
        self._opened = redis.Redis.from_url(
            self._url,
            # Sources time their reads themselves. redis-py would use `asyncio.wait_for`, which before Python 3.12
            # loses a cancellation that comes just as the awaited thing ends: the reader could not be stopped.
            socket_timeout=None,
            socket_connect_timeout=self._quiet_s,
            retry=Retry(NoBackoff(), 0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            client, self._opened = self._opened, None
            await client.aclose()

    @property
    def connected(self) -> bool:
        return bool(self._flowing) and all(self._flowing.values())

    async def done(self, instance: str | None = None) -> AsyncIterator[Sequence[JobKey | Terminal]]:
        channels: Channels[Sequence[JobKey | Terminal]] = {self._names.done: decode_done}
        if instance is not None:
            channels[self._names.answers(instance)] = decode_ends
        async with aclosing(self._follow(partial(published, channels, self._quiet_s))) as heard:
            async for told in heard:
                yield told

    async def running(self) -> AsyncIterator[tuple[Sequence[JobKey], datetime]]:
        source = partial(published, {self._names.running: decode_running}, self._quiet_s)
        async with aclosing(self._follow(source)) as heard:
            async for news in heard:
                yield news

    async def canceled(self) -> AsyncIterator[tuple[JobKey, datetime]]:
        stream = CancelStream(self._names.canceled, self._clock() - self._longest_deadline, self._quiet_s)
        async with aclosing(self._follow(stream.read)) as heard:
            async for cancel in heard:
                if cancel.expires_at > self._clock():
                    yield cancel.key, cancel.expires_at

    async def _follow(self, source: "_Source[Heard]") -> "AsyncGenerator[Heard, None]":
        reading = object()
        self._flowing[reading] = False
        delays = delays_s(cap_s=self._longest_delay_s)
        complained = False
        try:
            while self._opened is not None:
                try:
                    async with aclosing(source(self._opened)) as items:
                        async for item in items:
                            if not self._flowing[reading]:
                                log.info("news flow from Redis")
                                self._flowing[reading] = True
                                complained = False
                                delays = delays_s(cap_s=self._longest_delay_s)
                            if item is not None:
                                yield item
                except (redis.RedisError, OSError, ValueError) as error:  # the last: what answers is no Redis
                    self._flowing[reading] = False
                    if not complained:
                        tell_lost(error)
                        complained = True
                    await asyncio.sleep(next(delays))
        finally:
            del self._flowing[reading]
