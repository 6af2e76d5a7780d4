"""Telling the news."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Self

from runtime.clock import Clock, now_utc
from schemas.jobs import Terminal
from stores.protocols import JobKey, by_instance
from stores.redis.codec import LONGEST_DEADLINE_S, Names, encode_cancel, encode_done, encode_ends, encode_running
from stores.redis.connection import RedisConnection

# Beyond this many the oldest cancellations are forgotten: their jobs cost a run whose result nobody keeps.
MOST_CANCELS: Final = 200_000
MESSAGE_BYTES: Final = 1024 * 1024  # of results; a reader that lags is cut off by what it has not read
_CLOCK_SKEW: Final = timedelta(minutes=5)  # entries are dated by Redis's clock, trimmed by ours


class RedisSignals:
    """`Signals` on Redis or Valkey. Use as `async with`; needs no Redis until something is announced.

    Where Redis does not answer, `RedisConnection` says what happens. Cancellations are kept for `longest_deadline_s`.
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
    ) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, pause_s=pause_s, connections=connections)
        self._names = Names(prefix)
        self._kept = timedelta(seconds=longest_deadline_s) + _CLOCK_SKEW
        self._clock = clock

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.__aexit__()

    async def announce_done(self, keys: Sequence[JobKey], answers: Sequence[Terminal] = ()) -> None:
        if not keys:
            return
        async with self._connection.answering() as client, client.pipeline(transaction=False) as pipeline:
            for instance, ends in by_instance(answers).items():
                for message in _messages(ends):
                    pipeline.publish(self._names.answers(instance), message)
            pipeline.publish(self._names.done, encode_done(keys))
            await pipeline.execute()

    async def announce_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        if keys:
            async with self._connection.answering() as client:
                await client.publish(self._names.running, encode_running(keys, started_at))

    async def announce_cancel(self, key: JobKey, expires_at: datetime) -> None:
        oldest_ms = int((self._clock() - self._kept).timestamp() * 1000)
        async with self._connection.answering() as client, client.pipeline(transaction=False) as pipeline:
            pipeline.xadd(self._names.canceled, encode_cancel(key, expires_at), minid=oldest_ms, approximate=True)
            pipeline.xtrim(self._names.canceled, maxlen=MOST_CANCELS, approximate=True)
            await pipeline.execute()


def _messages(ends: Sequence[Terminal]) -> Iterator[bytes]:
    message: list[Terminal] = []
    size = 0
    for end in ends:
        end_size = 0 if end.result is None else len(end.result.value)
        if message and size + end_size > MESSAGE_BYTES:
            yield encode_ends(message)
            message, size = [], 0
        message.append(end)
        size += end_size
    yield encode_ends(message)
