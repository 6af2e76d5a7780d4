"""Bytes under keys. A folder, S3, GCS and Azure answer, by `stores.objects`; a twin does in memory.

Keys are ASCII, with `/` between their parts; none is empty, `.` or `..`. Every method may raise `StoreUnavailable`:
the store did not do it, or did not say whether it did. No error carries the store's own words, which hold paths.
"""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

# What is read or written of a blob at a time, at most.
PIECE_BYTES: Final = 1024 * 1024


class Written(msgspec.Struct, frozen=True):
    """What was put: its size in bytes, and its SHA-256 in lower-case hexadecimal."""

    size: int
    sha256: str


class BlobEntry(msgspec.Struct, frozen=True):
    key: str
    size: int
    modified_at: datetime


class Blobs(Protocol):
    """Any number of processes share one store. A blob is there whole, or not at all."""

    async def put(self, key: str, pieces: AsyncIterable[bytes] | bytes) -> Written:
        """Write a blob, in the place of one of that key. Holds a few pieces in memory, however large it is. What
        `pieces` raises is raised here, and then nothing is written."""

    async def size(self, key: str) -> int | None:
        """In bytes; None where there is no such blob."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The blob's bytes from `start` on, all or `length` of them, in pieces. Raises `BlobNotFound` before the first
        piece."""

    async def delete(self, keys: Sequence[str]) -> None:
        """What is not there is passed over."""

    def entries(self, prefix: str, after: str | None = None) -> AsyncIterator[BlobEntry]:
        """Those whose key begins so, in the order of their keys; none up to the key `after`."""
