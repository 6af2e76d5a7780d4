"""One connection to Redis, for exchanges of one kind whose callers have other things to do than wait."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

from schemas.errors import StoreUnavailable
from stores.redis.refusals import refusal


class RedisConnection:
    """Use as `async with`; needs no Redis until something is asked of it. One exchange is made at a time.

    Where Redis does not answer, an exchange gives up after `timeout_s`, and those of the next `pause_s` at once, so
    that a Redis that hangs takes only part of its callers' time.

    What is sent has been packed already: the client's own way from a call to its bytes and back, through its pool, its
    retries and its packing, takes several times as long as the exchange itself.
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
            self._url,
            socket_timeout=None,  # see `RedisNews`; each exchange has its own timeout
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._opened = pool.connection_class(**pool.connection_kwargs)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.disconnect(nowait=True)

    async def exchange(self, *packed: bytes) -> Sequence[Any]:
        """What Redis answers to the commands, sent together.

        Raises `StoreUnavailable`, and `NoScriptError` where it does not know a script.
        """
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
        except NoScriptError:
            raise
        # It loads its data, is out of memory, may not be written to; or is no Redis, and answers what cannot be parsed.
        except (redis.RedisError, OSError, ValueError) as error:
            raise StoreUnavailable(refusal(error) or "Redis is not available") from error


async def _exchange(connection: AbstractConnection, packed: Sequence[bytes]) -> Sequence[Any]:
    """An exchange that is broken off leaves the connection closed: what is answered late must not answer the next."""
    if connection.is_connected and await connection.can_read():  # nothing was asked: it is at its end
        await connection.disconnect(nowait=True)
    await connection.send_packed_command(packed, check_health=False)
    answers: list[Any] = []
    refused: ResponseError | None = None
    for _ in packed:
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            refused = error
    if refused is not None:
        raise refused
    return answers


def packed_command(*words: bytes) -> bytes:
    """A command as Redis reads it (RESP: the number of its words, then the length of each and itself)."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
