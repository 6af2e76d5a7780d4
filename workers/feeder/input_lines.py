"""The lines of one batch's input: those that come next, and those of a block once more."""

import asyncio
from collections.abc import Sequence
from typing import Final

from schemas.batches import Batch, Block, BlockLine, Cursor, Endpoint, LineEnd, LineError, endpoint_of
from schemas.errors import PenstockError, StoreUnavailable
from schemas.signature import Signature
from stores.blobs import Blobs, whole
from workers.feeder.answers import Written, never_run, refused
from workers.feeder.blocks import MadeBlock, Row, make_blocks, read_row
from workers.feeder.lines import RawLine, read_lines, without_mark
from workers.feeder.requests import LineRequest, read_request

# What is read ahead at most: enough to put lines of one length together.
MOST_LINES: Final = 4000
MOST_READ_BYTES: Final = 8_000_000
# What that may become: a line of some kilobytes may be an image of megabytes.
MOST_TENSOR_BYTES: Final = 32_000_000
# Lines that never ran are written so many at a time.
UNRUN_LINES: Final = 20_000


class InputLines:
    """The input is the blob `key`, and was found to be valid."""

    def __init__(self, blobs: Blobs, key: str, batch: Batch, signature: Signature, most_record_bytes: int) -> None:
        self._blobs = blobs
        self._key = key
        self._batch = batch
        self._signature = signature
        self._most_record_bytes = most_record_bytes

    async def ahead(self, cursor: Cursor, most: int) -> list[RawLine]:
        """So many lines at most, from the cursor on; none at the end."""
        lines: list[RawLine] = []
        size = 0
        async for line in read_lines(self._blobs, self._key, cursor.offset, cursor.line):
            lines.append(line)
            size += line.end - line.offset
            if len(lines) >= most or size >= MOST_READ_BYTES:
                break
        return lines

    def rows(self, chunk: Sequence[RawLine], most_rows: int) -> tuple[list[Row], list[Written], RawLine]:
        """Lines that can run, the ends of those that cannot, and the last line that was taken for that."""
        rows: list[Row] = []
        bad: list[Written] = []
        last = chunk[0]
        count = size = 0
        for line in chunk:
            told = self._told(line)
            if not isinstance(told, LineRequest):
                last = line
                continue  # a blank line: the input is valid
            row = self._row(told, line.number, line.offset, line.end - line.offset)
            if isinstance(row, PenstockError):
                bad.append(refused(self._batch.id, line.number, told.custom_id, row))
            else:
                if rows and count + row.line.rows > most_rows:
                    break
                rows.append(row)
                count, size = count + row.line.rows, size + row.size
            last = line
            if size >= MOST_TENSOR_BYTES:
                break
        return rows, bad, last

    def never_run(self, chunk: Sequence[RawLine], end: LineEnd) -> list[Written]:
        """The same of lines that are not to run any more."""
        return [
            never_run(end, self._batch.id, line.number, told.custom_id)
            for line in chunk
            if isinstance(told := self._told(line), LineRequest)
        ]

    async def made(self, block: Block) -> MadeBlock:
        """The block's rows once more, from the bytes of its lines. These lie within what was read ahead at once, and so
        does all that is between them."""
        start = min(line.offset for line in block.lines)
        end = max(line.offset + line.length for line in block.lines)
        text = await whole(self._blobs, self._key, start, end - start)
        return await asyncio.to_thread(self._made_of, block, memoryview(text), start)

    def _made_of(self, block: Block, text: memoryview, start: int) -> MadeBlock:
        rows = []
        for line in block.lines:
            own = without_mark(bytes(text[line.offset - start :][: line.length]), line.number).rstrip(b"\r\n")
            told = self._told(RawLine(line.number, line.offset, own, line.offset + line.length))
            if not isinstance(told, LineRequest):
                raise StoreUnavailable("the input is not what it was")
            row = self._row(told, line.number, line.offset, line.length)
            if isinstance(row, PenstockError):
                raise row
            rows.append(row)
        made = make_blocks(rows, most_rows=block.rows, most_bytes=2 * self._most_record_bytes)
        if [_numbers(each.lines) for each in made] != [_numbers(block.lines)]:
            raise StoreUnavailable("the rows of a block are not in the order that they were in")
        return made[0]

    def _row(self, told: LineRequest, number: int, offset: int, length: int) -> Row | PenstockError:
        return read_row(self._signature, told, number, offset, length, self._most_record_bytes)

    def _told(self, line: RawLine) -> LineRequest | LineError | None:
        """None for a blank line."""
        if line.is_blank:
            return None
        return read_request(line, self._batch.endpoint, endpoint_of(self._batch.endpoint) or Endpoint())


def _numbers(lines: Sequence[BlockLine]) -> list[int]:
    return [line.number for line in lines]
