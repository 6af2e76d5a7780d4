"""The lines of an input, read from its blob piece by piece."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from schemas.batches import MAX_LINE_BYTES
from schemas.malformed import UTF8_BOM
from stores.blobs import Blobs


class RawLine(NamedTuple):
    """A line as it stands: its number (from 1), the byte at which it begins, its bytes up to its end, without that.
    `text` is None for one that is too long to be read."""

    number: int
    offset: int
    text: bytes | None
    end: int  # where the next one begins

    @property
    def is_blank(self) -> bool:
        return self.text is not None and not self.text.strip()


NEWLINE: Final = b"\n"


async def read_lines(blobs: Blobs, key: str, offset: int = 0, number: int = 1) -> AsyncIterator[RawLine]:
    """From the line with this number on, which begins at `offset`. The last need not end with a newline."""
    held = bytearray()
    length = 0  # of the line that is being read; what is too long of it is not held
    async for piece in blobs.read(key, offset):
        start = 0
        while (found := piece.find(NEWLINE, start)) >= 0:
            length += found - start
            _hold(held, piece[start:found], length)
            yield _line(number, offset, held, length, offset + length + 1)
            offset += length + 1
            number, length, start = number + 1, 0, found + 1
            held.clear()
        length += len(piece) - start
        _hold(held, piece[start:], length)
    if length:
        yield _line(number, offset, held, length, offset + length)


def _hold(held: bytearray, piece: bytes, length: int) -> None:
    if length <= MAX_LINE_BYTES:
        held += piece


def _line(number: int, offset: int, held: bytearray, length: int, end: int) -> RawLine:
    if length > MAX_LINE_BYTES:
        return RawLine(number, offset, None, end)
    return RawLine(number, offset, without_mark(bytes(held), number), end)


def without_mark(text: bytes, number: int) -> bytes:
    """The first line may begin with a mark that says that it is UTF-8."""
    return text.removeprefix(UTF8_BOM) if number == 1 else text
