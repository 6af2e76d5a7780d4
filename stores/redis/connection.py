"""A connection to Redis whose callers have other things to do than wait for it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class RedisConnection:
    """Use as `async with`; needs no Redis until something is asked of it.

    Where Redis does not answer, an exchange gives up after `timeout_s`, and those of the next `pause_s` at once, so
    that a Redis that hangs takes only part of its callers' time.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        pause_s: float,
        connections: int,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._connections = connections
        self._clock_s = clock_s
        self._paused_until_s = float("-inf")
        self._opened: redis.Redis | None = None

    async def __aenter__(self) -> Self:
        pool = redis.BlockingConnectionPool.from_url(
            self._url,
            max_connections=self._connections,
            timeout=self._timeout_s,
            socket_timeout=None,  # see `RedisNews`; each exchange has its own timeout
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._opened = redis.Redis.from_pool(pool)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.aclose()

    @asynccontextmanager
    async def answering(self) -> "AsyncIterator[redis.Redis]":
        """The client, for one exchange. Raises `StoreUnavailable`."""
        if self._opened is None:
            raise StoreUnavailable("the connection to Redis is not open")
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
