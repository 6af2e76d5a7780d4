"""The in-memory twin of the blob store. For tests."""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime

from runtime.clock import Clock, now_utc
from schemas.errors import BlobNotFound, StoreUnavailable
from stores.blobs import PIECE_BYTES, BlobEntry, Written, check_key


class MemoryBlobs:
    """`Blobs`. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self, clock: Clock = now_utc) -> None:
        self.down = False
        self.blobs: dict[str, tuple[bytes, datetime]] = {}
        self._clock = clock

    async def put(self, key: str, pieces: AsyncIterable[bytes] | bytes) -> Written:
        self._check_up()
        check_key(key)
        value = pieces if isinstance(pieces, bytes) else b"".join([piece async for piece in pieces])
        self._check_up()
        self.blobs[key] = (value, self._clock())
        return Written(len(value), hashlib.sha256(value).hexdigest())

    async def size(self, key: str) -> int | None:
        self._check_up()
        return len(self.blobs[key][0]) if key in self.blobs else None

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self._check_up()
        if key not in self.blobs:
            raise BlobNotFound(f"there is no blob {key!r}")
        value = self.blobs[key][0]
        wanted = value[start : None if length is None else start + length]
        for first in range(0, len(wanted), PIECE_BYTES):
            self._check_up()
            yield wanted[first : first + PIECE_BYTES]

    async def delete(self, keys: Sequence[str]) -> None:
        self._check_up()
        for key in keys:
            self.blobs.pop(key, None)

    async def entries(self, folder: str) -> AsyncIterator[BlobEntry]:
        self._check_up()
        for key, (value, modified_at) in list(self.blobs.items()):
            if key.startswith(f"{folder}/"):
                yield BlobEntry(key, len(value), modified_at)

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("down")
