"""Compressed bodies, unpacked with their size, ratio and parts capped."""

import asyncio
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from runtime.budget import Holding
from schemas.errors import PayloadTooLarge, RequestError, UnsupportedMediaType

# A body may unpack to this many times its size, once it is beyond the first bytes: honest JSON rarely passes 20.
MAX_RATIO: Final = 100
RATIO_SLACK_BYTES: Final = 64 * 1024
# Of a gzip body. Tools that compress in blocks write one member every 64 KiB or so.
MAX_MEMBERS: Final = 1024
# Fed to zlib at a time. What a member leaves of its last piece is copied, so pieces are small.
PIECE_BYTES: Final = 8 * 1024
# Unpacking more than this takes milliseconds: a thread does it, so that other requests go on.
INLINE_UNPACK_BYTES: Final = 8 * 1024

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


def check_encoding(encoding: bytes) -> None:
    """Raises `UnsupportedMediaType` for a `Content-Encoding` that is neither gzip nor deflate."""
    if _coding(encoding) not in _WINDOWS:
        raise UnsupportedMediaType(
            f"content encoding {encoding.decode('latin-1')!r}: send gzip, deflate or none", param="Content-Encoding"
        )


async def unpack(packed: bytes, encoding: bytes, limit_bytes: int, held: Holding) -> bytes:
    """The body that came in this encoding. What it unpacks to is counted by `held`.

    Raises `PayloadTooLarge` before more than `limit_bytes` are held; `Unavailable` where the process has no room;
    `RequestError` for what does not unpack.
    """
    window = _WINDOWS[_coding(encoding)]
    if window is None:
        return packed
    if len(packed) <= INLINE_UNPACK_BYTES:
        return _unpack(packed, window, limit_bytes, held)
    return await asyncio.to_thread(_unpack, packed, window, limit_bytes, held)


def too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {limit_bytes} bytes")


def _coding(encoding: bytes) -> bytes:
    return encoding.strip().lower()


def _unpack(packed: bytes, window: int, limit_bytes: int, held: Holding) -> bytes:
    if window == _ZLIB and not _has_zlib_header(packed):
        window = _RAW_DEFLATE  # what some clients send as "deflate"
    allowed = min(limit_bytes, MAX_RATIO * len(packed) + RATIO_SLACK_BYTES)
    unpacked = bytearray()
    try:
        for piece in _pieces(memoryview(packed), window, allowed):
            held.grow(len(piece))
            unpacked += piece
            if len(unpacked) > allowed:
                raise too_large(limit_bytes) if allowed == limit_bytes else _suspicious()
    except zlib.error as error:
        raise RequestError("the body is not what its Content-Encoding says", param="Content-Encoding") from error
    return bytes(unpacked)


def _pieces(packed: memoryview, window: int, allowed: int) -> Iterator[bytes]:
    """What `packed` unpacks to, piece by piece, none larger than one byte beyond what is `allowed` in all."""
    position = 0
    for _ in range(MAX_MEMBERS):
        stream = zlib.decompressobj(window)
        while not stream.eof:
            if position == len(packed):
                raise RequestError("the compressed body ends too early", param="Content-Encoding")
            piece = packed[position : position + PIECE_BYTES]
            position += len(piece)
            yield stream.decompress(piece, allowed + 1)
        position -= len(stream.unused_data)
        if position == len(packed):
            return
        if window != _GZIP:  # only gzip may hold several members one after the other
            raise RequestError("bytes are left after the compressed body", param="Content-Encoding")
    raise RequestError(f"the gzip body has more than {MAX_MEMBERS} members", param="Content-Encoding")


def _has_zlib_header(packed: bytes) -> bool:
    return len(packed) >= 2 and packed[0] & 0x0F == 8 and (packed[0] << 8 | packed[1]) % 31 == 0


def _suspicious() -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the body unpacks to more than {MAX_RATIO} times its size: send it less compressed", param="Content-Encoding"
    )


_WINDOWS: Final[Mapping[bytes, int | None]] = {
    b"identity": None,
    b"": None,
    b"gzip": _GZIP,
    b"x-gzip": _GZIP,
    b"deflate": _ZLIB,
}
