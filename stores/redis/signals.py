"""Telling the news."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Self

from runtime.clock import Clock, now_utc
from schemas.jobs import Terminal
from stores.protocols import JobKey, by_instance
from stores.redis.codec import LONGEST_DEADLINE_S, Names, encode_cancel, encode_done, encode_ends, encode_running
from stores.redis.connection import RedisConnection, packed_command

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
        clock: Clock = now_utc,
    ) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, pause_s=pause_s)
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
        told = [
            _publish(self._names.answers(instance), message)
            for instance, ends in by_instance(answers).items()
            for message in _messages(ends)
        ]
        await self._connection.exchange(*told, _publish(self._names.done, encode_done(keys)))

    async def announce_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        if keys:
            await self._connection.exchange(_publish(self._names.running, encode_running(keys, started_at)))

    async def announce_cancel(self, key: JobKey, expires_at: datetime) -> None:
        stream = self._names.canceled.encode()
        oldest_ms = b"%d" % ((self._clock() - self._kept).timestamp() * 1000)
        fields = encode_cancel(key, expires_at)
        await self._connection.exchange(
            packed_command(b"XADD", stream, b"MINID", b"~", oldest_ms, b"*", *fields),
            packed_command(b"XTRIM", stream, b"MAXLEN", b"~", b"%d" % MOST_CANCELS),
        )


def _publish(channel: str, message: bytes) -> bytes:
    return packed_command(b"PUBLISH", channel.encode(), message)


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
