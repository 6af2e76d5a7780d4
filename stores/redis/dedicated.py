"""One connection to Redis for exchanges of one kind, which are many and must cost little."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from schemas.errors import StoreUnavailable


class DedicatedConnection:
    """Use as `async with`; needs no Redis until something is asked of it. What is sent has been packed already.

    The client's own way from a call to its bytes and back, through its pool, its retries and its packing, takes several
    times as long as the exchange itself. Where Redis does not answer, `timeout_s` and `pause_s` are those of
    `RedisConnection`.
    """

    def __init__(
        self, url: str, *, timeout_s: float, pause_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._clock_s = clock_s
        self._paused_until_s = float("-inf")
        self._one_at_a_time = asyncio.Lock()
        self._opened: AbstractConnection | None = None

    async def __aenter__(self) -> Self:
        pool = redis.ConnectionPool.from_url(  # it knows how to read the URL
            self._url, socket_timeout=None, socket_connect_timeout=self._timeout_s, retry=Retry(NoBackoff(), 0)
        )
        self._opened = pool.connection_class(**pool.connection_kwargs)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.disconnect(nowait=True)

    async def exchange(self, packed: bytes) -> Any:
        """What Redis answers to a command. Raises `StoreUnavailable`, and `ResponseError` where it answers an error."""
        if self._opened is None:
            raise StoreUnavailable("the connection to Redis is not open")
        if self._clock_s() < self._paused_until_s:
            raise StoreUnavailable("Redis did not answer a moment ago")
        try:
            async with asyncio.timeout(self._timeout_s), self._one_at_a_time:
                return await _exchange(self._opened, packed)
        except (TimeoutError, redis.TimeoutError) as error:
            self._paused_until_s = self._clock_s() + self._pause_s
            raise StoreUnavailable("Redis does not answer") from error
        except ResponseError:
            raise
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable("Redis is not available") from error


async def _exchange(connection: AbstractConnection, packed: bytes) -> Any:
    """An exchange that is broken off leaves the connection closed: what is answered late must not answer the next."""
    if connection.is_connected and await connection.can_read():  # nothing was asked: it is at its end
        await connection.disconnect(nowait=True)
    await connection.send_packed_command(packed, check_health=False)
    return await connection.read_response()


def packed_command(*words: bytes) -> bytes:
    """A command as Redis reads it (RESP: the number of its words, then the length of each and itself)."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
