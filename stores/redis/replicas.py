"""What replicas report, in Redis: a key of its own for each, which Redis forgets, and a set of all their names."""

from collections.abc import Sequence
from typing import Final, Self

import msgspec

from stores.redis.codec import Names
from stores.redis.connection import RedisConnection, packed_command
from stores.replicas import FORGOTTEN_AFTER_S, Replica

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Replica)


class RedisReplicas:
    """`Replicas` in Redis or Valkey. Use as `async with`; needs no Redis until something is asked of it.

    See `RedisConnection` for `timeout_s` and `pause_s`.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        kept_s: float = FORGOTTEN_AFTER_S,
        timeout_s: float = 1.0,
        pause_s: float = 1.0,
    ) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, pause_s=pause_s)
        self._names = Names(prefix)
        self._kept_ms = b"%d" % (kept_s * 1000)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.__aexit__()

    async def report(self, replica: Replica) -> None:
        name = _name(replica.instance, replica.role)
        await self._connection.exchange(
            packed_command(b"SET", self._key(name), _encoder.encode(replica), b"PX", self._kept_ms),
            packed_command(b"SADD", self._names.replicas.encode(), name),
        )

    async def leave(self, instance: str, role: str) -> None:
        name = _name(instance, role)
        await self._connection.exchange(
            packed_command(b"DEL", self._key(name)), packed_command(b"SREM", self._names.replicas.encode(), name)
        )

    async def all(self) -> Sequence[Replica]:
        names_key = self._names.replicas.encode()
        (found,) = await self._connection.exchange(packed_command(b"SMEMBERS", names_key))
        names = list(found)
        if not names:
            return []
        (values,) = await self._connection.exchange(packed_command(b"MGET", *map(self._key, names)))
        reports = dict(zip(names, values, strict=True))
        if gone := [name for name, value in reports.items() if value is None]:
            # One that comes back in this moment names itself again with its next report.
            await self._connection.exchange(packed_command(b"SREM", names_key, *gone))
        replicas = [replica for value in reports.values() if (replica := _read(value)) is not None]
        return sorted(replicas, key=lambda each: (each.role, each.instance))

    def _key(self, name: bytes) -> bytes:
        return b"%b:%b" % (self._names.replicas.encode(), name)


def _name(instance: str, role: str) -> bytes:
    return f"{role}/{instance}".encode()


def _read(value: bytes | None) -> Replica | None:
    try:
        return None if value is None else _decoder.decode(value)
    except ValueError:  # of another version of ours, or of somebody else
        return None
