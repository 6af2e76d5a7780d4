"""The sending end: small messages, short timeouts, no retries. Whoever sends must not wait for Redis."""

from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runtime.clock import Clock, now_utc
from schemas.errors import StoreUnavailable
from stores.redis.names import Running, canceled_stream, done_channel, encode, running_channel
from stores.seams import JobKey

# The longest that a job may take: older cancellations are of no interest to anybody.
LONGEST_DEADLINE: Final = timedelta(days=7)


class RedisSignals:
    """`Signals` over Redis. Use as `async with`. `timeout_s` bounds each call, with connecting."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float = 1.0, clock: Clock = now_utc) -> None:
        self._prefix = prefix
        self._clock = clock
        self._redis: Redis = Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def announce_done(self, keys: Sequence[JobKey]) -> None:
        if keys:
            await _sent(self._redis.publish(done_channel(self._prefix), encode(keys)))

    async def announce_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        if keys:
            await _sent(self._redis.publish(running_channel(self._prefix), encode(Running(keys, started_at))))

    async def announce_cancel(self, key: JobKey, expires_at: datetime) -> None:
        oldest_ms = int((self._clock() - LONGEST_DEADLINE).timestamp() * 1000)
        entry: dict[Any, Any] = {"tenant": key.tenant, "id": key.id, "expires_at": expires_at.isoformat()}
        await _sent(self._redis.xadd(canceled_stream(self._prefix), entry, minid=oldest_ms, approximate=True))


async def _sent(sending: Awaitable[object]) -> None:
    try:
        await sending
    except (RedisError, OSError) as error:
        raise StoreUnavailable("Redis cannot be reached") from error
