import io
import os
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

import pytest

from producers.bulk import stream
from producers.bulk.stream import Line, lines


async def lines_of(source: BinaryIO) -> list[Line]:
    return [line async for line in lines(source)]


async def test_lines_are_numbered_as_an_editor_numbers_them_and_blank_ones_are_passed_over() -> None:
    found = await lines_of(io.BytesIO(b"\xef\xbb\xbffirst\n\n  \r\nfourth\r\nlast"))

    assert found == [Line(1, b"first"), Line(4, b"fourth"), Line(5, b"last")]


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n \n"])
async def test_a_file_without_lines_gives_none(content: bytes) -> None:
    assert await lines_of(io.BytesIO(content)) == []


async def test_a_line_longer_than_a_chunk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK_BYTES", 3)

    assert await lines_of(io.BytesIO(b"abcdefgh\nij\n\nk")) == [Line(1, b"abcdefgh"), Line(2, b"ij"), Line(4, b"k")]


async def test_a_line_in_a_pipe_arrives_before_the_pipe_is_closed() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as source, os.fdopen(writer, "wb", buffering=0) as sink:
        found = lines(source)
        sink.write(b"one\ntw")
        assert await anext(found) == Line(1, b"one")
        sink.write(b"o\n")
        assert await anext(found) == Line(2, b"two")


async def test_what_reading_raises_reaches_the_caller() -> None:
    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await lines_of(Broken())  # type: ignore[arg-type]


async def test_a_reader_that_loses_interest_leaves_a_silent_pipe_behind(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    source, sink = pipe
    sink.write(b"one\n")
    async for line in lines(source):
        assert line == Line(1, b"one")
        break


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reader, writer = os.pipe()
    sink = os.fdopen(writer, "wb", buffering=0)
    with closing(sink), os.fdopen(reader, "rb", buffering=0) as source:
        yield source, sink
        sink.close()  # the thread that still reads sees the end
