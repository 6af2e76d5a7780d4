"""Telling the news."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from runtime.clock import Clock, now_utc
from schemas.errors import StoreUnavailable
from stores.redis.wire import LONGEST_DEADLINE_S, Names, encode_cancel, encode_done, encode_running
from stores.seams import JobKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Beyond this many the oldest cancellations are forgotten: their jobs cost a run whose result nobody keeps.
MOST_CANCELS: Final = 200_000
_CLOCK_SKEW: Final = timedelta(minutes=5)  # entries are dated by Redis's clock, trimmed by ours


class RedisSignals:
    """`Signals` on Redis or Valkey. Use as `async with`; needs no Redis until something is announced.

    Where Redis does not answer, an announcement gives up after `timeout_s`, and those of the next `pause_s` at once,
    so that a Redis that hangs takes only part of its callers' time. Cancellations are kept for `longest_deadline_s`.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        longest_deadline_s: float = LONGEST_DEADLINE_S,
        timeout_s: float = 1.0,
        pause_s: float = 1.0,
        connections: int = 4,
        clock: Clock = now_utc,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._names = Names(prefix)
        self._kept = timedelta(seconds=longest_deadline_s) + _CLOCK_SKEW
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._connections = connections
        self._clock = clock
        self._clock_s = clock_s
        self._paused_until_s = float("-inf")
        self._opened: redis.Redis | None = None

    async def __aenter__(self) -> Self:
        pool = redis.BlockingConnectionPool.from_url(
            self._url,
            max_connections=self._connections,
            timeout=self._timeout_s,
            socket_timeout=None,  # see `RedisNews`; each announcement has its own timeout
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._opened = redis.Redis.from_pool(pool)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.aclose()

    async def announce_done(self, keys: Sequence[JobKey]) -> None:
        if keys:
            async with self._answering() as client:
                await client.publish(self._names.done, encode_done(keys))

    async def announce_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        if keys:
            async with self._answering() as client:
                await client.publish(self._names.running, encode_running(keys, started_at))

    async def announce_cancel(self, key: JobKey, expires_at: datetime) -> None:
        oldest_ms = int((self._clock() - self._kept).timestamp() * 1000)
        async with self._answering() as client, client.pipeline(transaction=False) as pipeline:
            pipeline.xadd(self._names.canceled, encode_cancel(key, expires_at), minid=oldest_ms, approximate=True)
            pipeline.xtrim(self._names.canceled, maxlen=MOST_CANCELS, approximate=True)
            await pipeline.execute()

    @asynccontextmanager
    async def _answering(self) -> "AsyncIterator[redis.Redis]":
        if self._opened is None:
            raise StoreUnavailable("the signals are not open")
        if self._clock_s() < self._paused_until_s:
            raise StoreUnavailable("Redis did not answer a moment ago")
        try:
            async with asyncio.timeout(self._timeout_s):
                yield self._opened
        except (TimeoutError, redis.TimeoutError) as error:
            self._paused_until_s = self._clock_s() + self._pause_s
            raise StoreUnavailable("Redis does not answer") from error
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable("Redis is not available") from error
