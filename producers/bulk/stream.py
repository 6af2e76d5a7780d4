"""The lines of a file or a pipe, as they come."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import BinaryIO, Final, NamedTuple

CHUNK_BYTES: Final = 256 * 1024
CHUNKS_AHEAD: Final = 4
UTF8_BOM: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not blank: its number, counted from 1, and its bytes without the end."""

    number: int
    raw: bytes


async def lines(stream: BinaryIO) -> AsyncIterator[Line]:
    """Every line of `stream` that is not blank; the last one may lack its newline. Raises what reading raises.

    The stream should be unbuffered: reading then gives what a pipe holds without waiting for more, and holds no lock
    that a thread left behind could take to the end of the process.
    """
    number = 0
    begun: list[bytes] = []  # the line that has not ended yet; joined once, however long it becomes
    async for chunk in _chunks(stream):
        first, *others = chunk.split(b"\n")
        begun.append(first)
        for following in others:
            raw = b"".join(begun)
            begun = [following]
            number += 1
            if raw.strip():
                yield Line(number, _clean(raw, number))
    raw = b"".join(begun)
    if raw.strip():
        yield Line(number + 1, _clean(raw, number + 1))


def _clean(raw: bytes, number: int) -> bytes:
    return (raw.removeprefix(UTF8_BOM) if number == 1 else raw).strip()


async def _chunks(stream: BinaryIO) -> AsyncIterator[bytes]:
    """A daemon thread reads, a few chunks ahead: a pipe that stays silent must hold up neither the loop nor our end."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes | Exception] = asyncio.Queue()
    room = threading.Semaphore(CHUNKS_AHEAD)

    def read() -> None:
        while room.acquire():
            try:
                chunk: bytes | Exception = stream.read(CHUNK_BYTES)
            except (OSError, ValueError) as error:
                chunk = error
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)
            except RuntimeError:  # the loop has closed: nobody wants the rest
                return
            if not chunk or isinstance(chunk, Exception):
                return

    threading.Thread(target=read, name="lines", daemon=True).start()
    while True:
        chunk = await arrived.get()
        if isinstance(chunk, Exception):
            raise chunk
        if not chunk:
            return
        yield chunk
        room.release()
