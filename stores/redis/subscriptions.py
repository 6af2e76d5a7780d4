"""One connection's worth of news: each source yields until its connection is lost, and then raises.

A source yields None when it knows itself connected and has nothing new.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import redis.asyncio as redis

from runtime.logs import get_logger
from stores.redis.codec import Cancel, decode_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

log = get_logger(__name__)

Heard = TypeVar("Heard")
Channels: TypeAlias = dict[str, Callable[[bytes], Heard]]

_READ_AT_ONCE = 1000


async def published(
    channels: "Channels[Heard]", quiet_s: float, client: redis.Redis
) -> "AsyncGenerator[Heard | None, None]":
    """The messages of some channels, in the order in which they were sent.

    After `quiet_s` of silence the server is asked for a sign of life.
    """
    decoders = {name.encode(): decode for name, decode in channels.items()}
    async with client.pubsub() as subscription:
        async with asyncio.timeout(quiet_s):
            await subscription.subscribe(*channels)
        asked = False
        while True:
            async with asyncio.timeout(2 * quiet_s):
                message = await subscription.get_message(timeout=quiet_s)
            if message is not None:
                asked = False
                heard = message["type"] == "message"
                yield decoded(decoders[message["channel"]], message["data"]) if heard else None
            elif asked:
                raise TimeoutError("Redis did not answer a ping")
            else:
                async with asyncio.timeout(quiet_s):
                    await subscription.ping()
                asked = True


class CancelStream:
    """The stream of cancellations from `since` on. A reader that comes back goes on where it was."""

    def __init__(self, name: str, since: datetime, quiet_s: float) -> None:
        self._name = name
        self._last_id: str | bytes = f"{int(since.timestamp() * 1000)}-0"
        self._quiet_s = quiet_s

    async def read(self, client: redis.Redis) -> "AsyncGenerator[Cancel | None, None]":
        block_ms = None  # the first read returns at once: it shows that we are connected
        while True:
            async with asyncio.timeout(2 * self._quiet_s):
                reply = await client.xread({self._name: self._last_id}, count=_READ_AT_ONCE, block=block_ms)
            yield None
            block_ms = int(self._quiet_s * 1000)
            for entry_id, fields in _entries(reply):
                self._last_id = entry_id
                yield decoded(decode_cancel, fields)


def _entries(reply: Any) -> Iterator[tuple[bytes, Mapping[bytes, bytes]]]:
    """The entries in an answer to XREAD, which redis-py shapes by the protocol spoken: RESP3 or RESP2."""
    if isinstance(reply, dict):
        for lists in reply.values():
            for entries in lists:
                yield from entries
    else:
        for _, entries in reply:
            yield from entries


def decoded(decode: Callable[[Any], Heard], data: Any) -> Heard | None:
    """None, as where there is nothing new, for what we did not write: it must not end those who listen."""
    try:
        return decode(data)
    except (ValueError, RecursionError) as error:
        log.warning("passed over news that no Penstock wrote", error=str(error))
        return None
