"""One batch under way: making blocks of its next lines, sending them, writing down what they gave."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence, Set
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from producers.protocols import Publisher
from producers.window import RowRate, Share
from runtime.logs import get_logger
from schemas.batches import (
    BLOCK_BYTES,
    BatchStatus,
    Block,
    BlockLine,
    Cursor,
    Endpoint,
    File,
    LineEnd,
    LineError,
    Part,
    PartKind,
    Purpose,
    endpoint_of,
    new_file_id,
)
from schemas.catalog import CatalogEntry
from schemas.errors import PenstockError, StoreUnavailable
from schemas.jobs import Job, Status, new_job_id
from schemas.records import lane_job, lane_record
from schemas.topics import LaneClass, Topics
from stores.batches import BatchWork, Lead, Open, Step
from stores.blobs import Blobs, whole
from workers.feeder.answers import Written, lines_of, may_be_a_row, never_run, refused
from workers.feeder.blocks import MadeBlock, Row, make_blocks, read_row
from workers.feeder.lines import RawLine, read_lines, without_mark
from workers.feeder.requests import LineRequest, read_request

log = get_logger(__name__)

SOURCE: Final = "/penstock/feeder"
# What is read ahead at most: enough to put lines of one length together.
MOST_LINES: Final = 4000
MOST_READ_BYTES: Final = 8_000_000
# What that may become: a line of some kilobytes may be an image of megabytes.
MOST_TENSOR_BYTES: Final = 32_000_000
# A part is about so large: an output of a million lines is some hundred of them.
PART_BYTES: Final = 4_000_000
# Lines that never ran are written so many at a time.
UNRUN_LINES: Final = 20_000


class Stale(Exception):
    """What is known of the batch is not what the store has: it is to be read anew."""


class Seams(NamedTuple):
    """What a feed works with."""

    work: BatchWork
    blobs: Blobs
    publisher: Publisher
    topics: Topics
    now: Callable[[], datetime]
    most_record_bytes: int
    clock_s: Callable[[], float] = time.monotonic


class Feed:
    """A batch that has begun, as it was read from the store; `entry` is its version in the catalog, `share` the room
    that it has together with the tenant's other batches of that version."""

    def __init__(self, seams: Seams, known: Open, key: str, entry: CatalogEntry, share: Share) -> None:
        self._seams = seams
        self.batch = known.batch
        self.entry = entry
        self.rate = RowRate()
        self.share = share
        self.at_end = False  # all lines have been made blocks of
        self._key = key
        self._cursor = known.cursor
        self.blocks = {block.number: block for block in known.blocks}
        self._parts = dict(known.parts)

    @property
    def rows_in_lane(self) -> int:
        return sum(block.rows for block in self.blocks.values())

    @property
    def is_over(self) -> bool:
        """Whether each line has its end."""
        return not self.batch.counts.processing and not self.blocks

    def room(self, window_s: float) -> int:
        if self.at_end or self.batch.status is not BatchStatus.IN_PROGRESS:
            return 0
        return self.share.room(window_s, self._seams.clock_s())

    async def feed(self, lead: Lead, most_rows: int) -> int:
        """Send the next lines, of about so many rows at most. Returns how many rows."""
        chunk = [line async for line in self._ahead(min(most_rows, MOST_LINES))]
        if not chunk:
            self.at_end = True
            return 0
        rows, bad, last = await asyncio.to_thread(self._read, chunk)
        most_bytes = min(BLOCK_BYTES, self._seams.most_record_bytes)
        made = await asyncio.to_thread(make_blocks, rows, most_bytes=most_bytes)
        blocks = self._numbered(made)
        after = Cursor(offset=last.end, line=last.number + 1, block=self._cursor.block + len(blocks))
        await self._advance(lead, after, blocks, [block.rows for block in made], bad)
        await self._publish(list(zip(blocks, made, strict=True)))
        return sum(block.rows for block in made)

    async def send_again(self, blocks: Sequence[Block]) -> None:
        """What was planned, and perhaps never sent: the same rows under the same ids."""
        for block in blocks:
            await self._publish([(block, await self._made(block))])

    async def collect(self, lead: Lead, ended: Sequence[tuple[Block, Job]]) -> None:
        """Write down what blocks gave whose jobs have ended; those that one row may have failed are sent in halves."""
        over: list[Block] = []
        lines: list[Written] = []
        now_s = self._seams.clock_s()
        for block, job in ended:
            if len(block.lines) > 1 and may_be_a_row(job) and self.batch.status is BatchStatus.IN_PROGRESS:
                await self._divide(lead, block)
                continue
            over.append(block)
            lines += await asyncio.to_thread(lines_of, job, block.lines, self.entry.signature, self.batch.id)
        if over:
            await self._advance(lead, self._cursor, (), (), lines, over=[block.number for block in over])
            for block in over:
                self.rate.ended(block.rows, now_s)
                self.share.rate.ended(block.rows, now_s)
        if not self.blocks:
            self.rate.idle()
        self.share.hold(self.batch.id, self.rows_in_lane, now_s)

    async def give_up_rest(self, lead: Lead, end: LineEnd) -> None:
        """Give an end to lines that were never sent; some of them at a time."""
        chunk = [line async for line in self._ahead(UNRUN_LINES)]
        if not chunk:
            self.at_end = True
            return
        lines = [
            never_run(end, self.batch.id, line.number, told.custom_id)
            for line in chunk
            if isinstance(told := self._told(line), LineRequest)
        ]
        after = msgspec.structs.replace(self._cursor, offset=chunk[-1].end, line=chunk[-1].number + 1)
        await self._advance(lead, after, (), (), lines)

    async def count_rest(self, lead: Lead, end: LineEnd) -> None:
        """The same where the input is gone: nobody knows the names of its lines any more, so they are counted only."""
        in_lane = sum(len(block.lines) for block in self.blocks.values())
        ends = {end: self.batch.counts.processing - in_lane}
        await self._take(lead, Step(batch_id=self.batch.id, before=self._cursor, after=self._cursor, ends=ends))
        self.at_end = True

    async def remove_unlisted(self, listed: Set[str]) -> None:
        """Parts that were written by a step that then was not. Only once no line is left: nobody lists another."""
        found = [entry.key async for entry in self._seams.blobs.entries(self._folder)]
        await self._seams.blobs.delete([key for key in found if key not in listed])

    def outputs(self, now: datetime, sizes: dict[PartKind, int]) -> list[File]:
        """The files of the batch's outputs, of kinds that have lines."""
        keep = self.batch.output_expires_after_s
        expires_at = None if keep is None else datetime.fromtimestamp(now.timestamp() + keep, now.tzinfo)
        return [
            File(
                tenant=self.batch.tenant,
                id=new_file_id(),
                purpose=Purpose.BATCH_OUTPUT,
                filename=f"{self.batch.id}_{kind}.jsonl",
                bytes=size,
                created_at=now,
                expires_at=expires_at,
                batch_id=self.batch.id,
                kind=kind,
            )
            for kind, size in sizes.items()
        ]

    async def _divide(self, lead: Lead, block: Block) -> None:
        middle = len(block.lines) // 2
        numbered = [
            Block(number=self._cursor.block + place, job_id=new_job_id(), lines=lines)
            for place, lines in enumerate((block.lines[:middle], block.lines[middle:]))
        ]
        after = msgspec.structs.replace(self._cursor, block=self._cursor.block + 2)
        log.info("a block is divided", batch=self.batch.id, block=block.number, lines=len(block.lines))
        await self._advance(lead, after, numbered, [each.rows for each in numbered], (), over=[block.number])
        await self._publish([(each, await self._made(each)) for each in numbered])

    async def _advance(
        self,
        lead: Lead,
        after: Cursor,
        blocks: Sequence[Block],
        rows: Sequence[int],
        lines: Sequence[Written],
        over: Sequence[int] = (),
    ) -> None:
        """Write the step down, and then know it. Raises `Stale`."""
        parts = await self._write(lines)
        now = self._seams.now()
        step = Step(
            batch_id=self.batch.id,
            before=self._cursor,
            after=after,
            blocks=blocks,
            jobs=[self._job(block, count, now) for block, count in zip(blocks, rows, strict=True)],
            over=over,
            ends=_counted(lines),
            parts=parts,
        )
        await self._take(lead, step)

    async def _take(self, lead: Lead, step: Step) -> None:
        if not await self._seams.work.advance(lead, step):
            raise Stale
        self._cursor = step.after
        for number in step.over:
            del self.blocks[number]
        self.blocks |= {block.number: block for block in step.blocks}
        for part in step.parts:
            self._parts[part.kind] = part.number + 1
        self.batch = msgspec.structs.replace(self.batch, counts=self.batch.counts.plus(step.ends))
        if self.blocks:
            now_s = self._seams.clock_s()
            self.rate.began(now_s)
            self.share.hold(self.batch.id, self.rows_in_lane, now_s)

    async def _write(self, lines: Sequence[Written]) -> list[Part]:
        """The lines as parts: blobs, under the numbers that are next. No two writers have a key in common: who has lost
        the lease and does not know it yet would write over what another's step has listed."""
        parts: list[Part] = []
        for kind in PartKind:
            texts = [line.text for line in lines if line.kind is kind]
            number = self._parts.get(kind, 0)
            for group in _grouped(texts):
                key = f"{self._folder}/{kind}-{number:06d}-{os.urandom(8).hex()}.jsonl"
                written = await self._seams.blobs.put(key, b"".join(group))
                parts.append(Part(kind=kind, number=number, key=key, bytes=written.size, lines=len(group)))
                number += 1
        return parts

    def _read(self, chunk: Sequence[RawLine]) -> tuple[list[Row], list[Written], RawLine]:
        """Lines that can run, the ends of those that cannot, and the last line that was read for that."""
        rows: list[Row] = []
        bad: list[Written] = []
        size = 0
        for line in chunk:
            told = self._told(line)
            if not isinstance(told, LineRequest):
                continue  # a blank line: the input is valid
            row = self._row(told, line.number, line.offset, line.end - line.offset)
            if isinstance(row, PenstockError):
                bad.append(refused(self.batch.id, line.number, told.custom_id, row))
            else:
                rows.append(row)
                size += row.size
                if size >= MOST_TENSOR_BYTES:
                    break
        return rows, bad, line

    def _row(self, told: LineRequest, number: int, offset: int, length: int) -> Row | PenstockError:
        most_bytes = self._seams.most_record_bytes
        return read_row(self.entry.signature, told, number, offset, length, most_bytes)

    def _told(self, line: RawLine) -> LineRequest | LineError | None:
        if line.is_blank:
            return None
        return read_request(line, self.batch.endpoint, self._endpoint)

    @property
    def _folder(self) -> str:
        return f"batches/{self.batch.tenant}/{self.batch.id}"

    @property
    def _endpoint(self) -> Endpoint:
        return endpoint_of(self.batch.endpoint) or Endpoint()

    async def _ahead(self, most: int) -> AsyncIterator[RawLine]:
        count = size = 0
        async for line in read_lines(self._seams.blobs, self._key, self._cursor.offset, self._cursor.line):
            yield line
            count, size = count + 1, size + line.end - line.offset
            if count >= most or size >= MOST_READ_BYTES:
                return

    def _numbered(self, made: Sequence[MadeBlock]) -> list[Block]:
        first = self._cursor.block
        return [Block(number=first + place, job_id=new_job_id(), lines=block.lines) for place, block in enumerate(made)]

    async def _made(self, block: Block) -> MadeBlock:
        """The block's rows once more, from the bytes of its lines."""
        rows = []
        for line in block.lines:
            text = (await whole(self._seams.blobs, self._key, line.offset, line.length)).rstrip(b"\r\n")
            text = without_mark(text, line.number)
            told = self._told(RawLine(line.number, line.offset, text, line.offset + line.length))
            if not isinstance(told, LineRequest):
                raise StoreUnavailable("the input is not what it was")
            row = self._row(told, line.number, line.offset, line.length)
            if isinstance(row, PenstockError):
                raise row
            rows.append(row)
        made = make_blocks(rows, most_rows=block.rows, most_bytes=2 * self._seams.most_record_bytes)
        (only,) = made
        if _numbers(only.lines) != _numbers(block.lines):
            raise StoreUnavailable("the rows of a block are not in the order that they were in")
        return only

    async def _publish(self, blocks: Sequence[tuple[Block, MadeBlock]]) -> None:
        now = self._seams.now()
        records = []
        for block, made in blocks:
            job = self._job(block, made.rows, now)
            topic = self._seams.topics.lane(job.lane_of)
            records.append(lane_record(topic, lane_job(job, made.payload, None), SOURCE))
        for problem in await self._seams.publisher.publish_all(records):
            if problem is not None:
                raise problem

    def job_of(self, block: Block) -> Job:
        """The block's job as it is asked for."""
        return self._job(block, block.rows, self._seams.now())

    def _job(self, block: Block, rows: int, now: datetime) -> Job:
        batch, entry = self.batch, self.entry
        return Job(
            tenant=batch.tenant,
            id=block.job_id,
            model=entry.model,
            version=entry.version,
            lane=LaneClass.BULK,
            status=Status.QUEUED,
            created_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
            expires_at=batch.expires_at,
            rows=rows,
            batch_id=batch.id,
            revision=batch.revision,
            retention_s=entry.retention_s,
            row_errors=True,
        )


def _counted(lines: Sequence[Written]) -> dict[LineEnd, int]:
    counts: dict[LineEnd, int] = {}
    for line in lines:
        counts[line.end] = counts.get(line.end, 0) + 1
    return counts


def _grouped(texts: Sequence[bytes]) -> list[list[bytes]]:
    groups: list[list[bytes]] = []
    size = PART_BYTES
    for text in texts:
        if size >= PART_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(text)
        size += len(text)
    return groups


def _numbers(lines: Sequence[BlockLine]) -> list[int]:
    return [line.number for line in lines]
