"""The receiving end: one connection a kind of news, for ever, with back-off while Redis is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, Self, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runtime.backoff import delays_s
from runtime.clock import Clock, now_utc
from runtime.logs import get_logger
from stores.redis.names import canceled_stream, done_channel, done_decoder, running_channel, running_decoder
from stores.redis.signals import LONGEST_DEADLINE
from stores.seams import JobKey

log = get_logger(__name__)

N = TypeVar("N")

# How long one read waits for news before the connection is asked again whether it lives.
READ_S: Final = 5.0
CANCELED_AT_ONCE: Final = 1000


class RedisNews:
    """`News` over Redis. Use as `async with`."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float = 1.0, clock: Clock = now_utc) -> None:
        self._prefix = prefix
        self._clock = clock
        self._redis: Redis = Redis.from_url(
            url,
            socket_connect_timeout=timeout_s,
            socket_timeout=READ_S + timeout_s,  # a blocking read takes its time, a dead connection must not
            health_check_interval=READ_S,
        )
        self._flowing: dict[str, bool] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    @property
    def connected(self) -> bool:
        return all(self._flowing.values())

    async def done(self) -> AsyncIterator[Sequence[JobKey]]:
        async for message in self._forever("done", lambda: self._channel("done", done_channel(self._prefix))):
            yield done_decoder.decode(message)

    async def running(self) -> AsyncIterator[tuple[Sequence[JobKey], datetime]]:
        channel = running_channel(self._prefix)
        async for message in self._forever("running", lambda: self._channel("running", channel)):
            running = running_decoder.decode(message)
            yield running.keys, running.started_at

    async def canceled(self) -> AsyncIterator[tuple[JobKey, datetime]]:
        async for entry in self._forever("canceled", self._canceled_entries):
            key = JobKey(entry[b"tenant"].decode(), entry[b"id"].decode())
            expires_at = datetime.fromisoformat(entry[b"expires_at"].decode())
            if expires_at > self._clock():
                yield key, expires_at

    async def _forever(self, kind: str, connect: Callable[[], AsyncIterator[N]]) -> AsyncIterator[N]:
        """What `connect` gives, connected again whenever it breaks."""
        delays = delays_s()
        while True:
            try:
                async with aclosing(connect()) as news:  # type: ignore[type-var]
                    async for each in news:
                        delays = delays_s()
                        yield each
            except (RedisError, OSError, msgspec.MsgspecError) as error:
                if self._flowing.get(kind, True):
                    log.warning("news stopped", kind=kind, error=repr(error))
                self._flowing[kind] = False
            await asyncio.sleep(next(delays))

    async def _channel(self, kind: str, channel: str) -> AsyncIterator[bytes]:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(channel)
            while True:
                message: dict[str, Any] | None = await subscription.get_message(timeout=READ_S)
                self._flows(kind)
                if message is not None:
                    yield message["data"]

    async def _canceled_entries(self) -> AsyncIterator[dict[bytes, bytes]]:
        """First what may still be of interest, then what comes. After a broken connection, all of it again."""
        last: bytes | str = _stream_id(self._clock() - LONGEST_DEADLINE)
        stream = canceled_stream(self._prefix)
        while True:
            read: Any = await self._redis.xread({stream: last}, count=CANCELED_AT_ONCE, block=int(READ_S * 1000))
            self._flows("canceled")
            for entry_id, entry in _entries(read):
                last = entry_id
                yield entry

    def _flows(self, kind: str) -> None:
        if self._flowing.get(kind) is False:
            log.info("news flow again", kind=kind)
        self._flowing[kind] = True


def _entries(read: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of one stream, as protocol 2 (a list of pairs) or 3 (a map) tells them."""
    if not read:
        return []
    ((_, entries),) = read.items() if isinstance(read, dict) else read
    if entries and isinstance(entries[0], list) and entries[0] and isinstance(entries[0][0], (list, tuple)):
        (entries,) = entries
    return list(entries)


def _stream_id(moment: datetime) -> str:
    return f"{int(moment.timestamp() * 1000)}-0"
