"""Request bodies: read with their size counted, and decompressed with both size and ratio capped."""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Receive

from schemas.errors import PayloadTooLarge, RequestError, UnsupportedMediaType

# A body may unpack to this many times its size, once it is beyond the first bytes: honest JSON rarely passes 20.
MAX_RATIO: Final = 100
RATIO_SLACK_BYTES: Final = 64 * 1024
# From the first part of a body to the last. A slow sender holds one of the places for submits.
TIMEOUT_S: Final = 30.0

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


class ClientGone(Exception):
    """The client closed the connection before its request was whole: nobody is left to be answered."""


def announced_bytes(headers: Mapping[bytes, bytes], limit_bytes: int) -> int:
    """How many bytes reading the body may take: what Content-Length says, or the limit where it says too little.

    Raises what can be refused before a byte is read: `PayloadTooLarge` for a length beyond the limit,
    `UnsupportedMediaType` for an encoding that is neither gzip nor deflate, `RequestError` for a length that is none.
    """
    encoding = headers.get(b"content-encoding")
    if encoding is not None and _coding(encoding) not in _WINDOWS:
        raise UnsupportedMediaType(
            f"content encoding {encoding.decode('latin-1')!r}: send gzip, deflate or none", param="Content-Encoding"
        )
    length = headers.get(b"content-length")
    if length is None:
        return limit_bytes
    if not length.isdigit():
        raise RequestError("Content-Length is not a number", param="Content-Length")
    if len(length) > 18 or int(length) > limit_bytes:
        raise _too_large(limit_bytes)
    return limit_bytes if encoding is not None else int(length)


async def read_body(
    headers: Mapping[bytes, bytes],
    first: Message,
    receive: Receive,
    limit_bytes: int,
    timeout_s: float = TIMEOUT_S,
) -> bytes:
    """The decompressed body, of which the server has given the `first` message.

    Raises `PayloadTooLarge` before more than `limit_bytes` are held, counted while reading and while unpacking;
    `RequestError` for one that does not unpack, or is not whole after `timeout_s` seconds; `ClientGone`.
    """
    body = _chunk(first)
    if first.get("more_body"):
        try:
            async with asyncio.timeout(timeout_s):
                body = await _read_on(body, receive, limit_bytes)
        except TimeoutError as error:
            raise RequestError(f"the body was not whole after {timeout_s:g} s") from error
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    encoding = headers.get(b"content-encoding")
    window = _WINDOWS[_coding(encoding)] if encoding is not None else None
    return body if window is None else _unpack(body, window, limit_bytes)


def _coding(encoding: bytes) -> bytes:
    return encoding.strip().lower()


async def _read_on(first: bytes, receive: Receive, limit_bytes: int) -> bytes:
    body = bytearray(first)
    more = True
    while more:
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        message = await receive()
        body += _chunk(message)
        more = message.get("more_body", False)
    return bytes(body)


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    chunk: bytes = message.get("body", b"")
    return chunk


def _unpack(packed: bytes, window: int, limit_bytes: int) -> bytes:
    if window == _ZLIB and not _has_zlib_header(packed):
        window = _RAW_DEFLATE  # what some clients send as "deflate"
    allowed = min(limit_bytes, MAX_RATIO * len(packed) + RATIO_SLACK_BYTES)
    unpacked = bytearray()
    rest = packed
    while True:
        stream = zlib.decompressobj(window)
        try:
            unpacked += stream.decompress(rest, allowed - len(unpacked) + 1)
        except zlib.error as error:
            raise RequestError("the body is not what its Content-Encoding says", param="Content-Encoding") from error
        if len(unpacked) > allowed:
            raise _too_large(limit_bytes) if allowed == limit_bytes else _suspicious()
        if not stream.eof:
            raise RequestError("the compressed body ends too early", param="Content-Encoding")
        rest = stream.unused_data
        if not rest:
            return bytes(unpacked)
        if window != _GZIP:  # only gzip may hold several members one after the other
            raise RequestError("bytes are left after the compressed body", param="Content-Encoding")


def _has_zlib_header(packed: bytes) -> bool:
    return len(packed) >= 2 and packed[0] & 0x0F == 8 and (packed[0] << 8 | packed[1]) % 31 == 0


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {limit_bytes} bytes")


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
