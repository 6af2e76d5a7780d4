"""Bytes under keys. A folder, S3, GCS and Azure answer, by `stores.objects`; a twin does in memory.

Keys are names of letters, digits and `._-`, with `/` between them; no name is only dots. Every method may raise
`StoreUnavailable`: the store did not do it, or did not say whether it did. No error carries the store's own words:
they may hold paths.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from schemas.errors import BlobNotFound

# What is read of a blob at a time, about.
PIECE_BYTES: Final = 1024 * 1024

_KEY: Final = re.compile(r"(?:(?!\.+(?:/|$))[A-Za-z0-9._-]{1,255}(?:/(?!$)|$)){1,12}")


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
        """Write a blob, in the place of one of that key. Holds some megabytes in memory, however large it is. What
        `pieces` raises is raised here, and then nothing is written."""

    async def size(self, key: str) -> int | None:
        """In bytes; None where there is no such blob."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The blob's bytes from `start` on, all or `length` of them, in pieces; none beyond its end. Raises
        `BlobNotFound` before the first piece."""

    async def delete(self, keys: Sequence[str]) -> None:
        """What is not there is passed over."""

    def entries(self, folder: str) -> AsyncIterator[BlobEntry]:
        """Those whose key begins with `folder/`, in any order."""


def check_key(key: str) -> str:
    """Raises `BlobNotFound` for what is no key: there cannot be such a blob."""
    if not _KEY.fullmatch(key):
        raise BlobNotFound(f"not a key: {key[:100]!r}")
    return key


async def whole(blobs: Blobs, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in blobs.read(key, start, length)])
