"""Counting how often jobs were started."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Self

from redis.exceptions import NoScriptError

from stores.protocols import JobKey
from stores.redis.codec import Names, encode_names
from stores.redis.connection import RedisConnection, packed_command

# One argument in MessagePack instead of one a job. Keys that are not declared are what Redis Cluster forbids, and
# nothing of ours runs on that.
COUNT: Final = b"""
for _, name in ipairs(cmsgpack.unpack(ARGV[1])) do
  redis.call('del', KEYS[1] .. name)
end
local earlier = {}
for index, name in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key = KEYS[1] .. name
  if not redis.call('set', key, 1, 'nx', 'ex', ARGV[3]) then
    earlier[#earlier + 1] = index - 1
    earlier[#earlier + 1] = tonumber(redis.call('get', key)) or 1
  end
end
return earlier
"""
COUNT_AGAIN: Final = b"""
local starts = redis.call('incr', KEYS[1])
redis.call('expire', KEYS[1], ARGV[1])
return starts
"""


class RedisStarts:
    """`Starts` in Redis or Valkey. Use as `async with`; needs no Redis until something is counted.

    A micro-batch waits for its count, so it waits but shortly: see `RedisConnection` for `timeout_s` and `pause_s`.
    """

    def __init__(
        self, url: str, *, prefix: str, kept_s: int = 24 * 3600, timeout_s: float = 0.25, pause_s: float = 5.0
    ) -> None:
        self._connection = RedisConnection(url, timeout_s=timeout_s, pause_s=pause_s)
        self._prefix = Names(prefix).starts.encode()
        self._kept_s = b"%d" % kept_s

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.__aexit__()

    async def count(self, keys: Sequence[JobKey], ended: Sequence[JobKey] = ()) -> Sequence[int]:
        found = await self._run(COUNT, self._prefix, encode_names(ended), encode_names(keys), self._kept_s)
        earlier = [0] * len(keys)
        for index, starts in zip(found[::2], found[1::2], strict=True):
            earlier[index] = starts
        return earlier

    async def count_again(self, key: JobKey) -> int:
        starts: int = await self._run(COUNT_AGAIN, b"%b%b/%b" % (self._prefix, *map(str.encode, key)), self._kept_s)
        return starts - 1

    async def forget(self, keys: Sequence[JobKey]) -> None:
        await self.count((), keys)

    async def _run(self, script: bytes, *arguments: bytes) -> Any:
        try:
            asked = packed_command(b"EVALSHA", _DIGESTS[script], b"1", *arguments)
            (answer,) = await self._connection.exchange(asked)
        except NoScriptError:  # a Redis that is new to it, or was restarted
            (answer,) = await self._connection.exchange(packed_command(b"EVAL", script, b"1", *arguments))
        return answer


# As Redis names scripts.
_DIGESTS: Final = {
    script: hashlib.sha1(script, usedforsecurity=False).hexdigest().encode() for script in (COUNT, COUNT_AGAIN)
}
