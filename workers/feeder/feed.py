"""One batch under way: making blocks of its next lines, sending them, writing down what they gave."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from producers.protocols import Publisher
from producers.window import RowRate, Share
from runtime.logs import get_logger
from schemas.batches import BLOCK_BYTES, BLOCK_ROWS, BatchStatus, Block, Cursor, LineEnd
from schemas.blocks import may_be_a_row
from schemas.catalog import CatalogEntry
from schemas.jobs import Job, Status, new_job_id
from schemas.records import lane_job, lane_record
from schemas.topics import LaneClass, Topics
from stores.batches import BatchWork, Lead, Open, Step
from stores.blobs import Blobs
from stores.promises import VersionKey
from workers.feeder import metrics
from workers.feeder.answers import Written, lines_of
from workers.feeder.blocks import MadeBlock, make_blocks, whole_blocks
from workers.feeder.input_lines import MOST_LINES, UNRUN_LINES, InputLines
from workers.feeder.outputs import Outputs

log = get_logger(__name__)

SOURCE: Final = "/penstock/feeder"
# What blocks gave is kept at least so long: a place for blobs may be away, or all feeders be stopped.
COLLECTED_WITHIN_S: Final = 24 * 3600


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
        self.outputs = Outputs(seams.blobs, known.batch, known.parts)
        self._lines = InputLines(seams.blobs, key, known.batch, entry.signature, seams.most_record_bytes)
        self._cursor = known.cursor
        self.blocks = {block.number: block for block in known.blocks}
        self.jobs_in_lane = {block.job_id for block in known.blocks}
        self._rows_seen, self._lines_seen = self.rows_in_lane, sum(len(block.lines) for block in known.blocks)

    @property
    def rows_in_lane(self) -> int:
        return sum(block.rows for block in self.blocks.values())

    @property
    def rows_left(self) -> float:
        """About: of lines that were not read yet, as many as those had that were."""
        return self.batch.counts.processing * self._rows_seen / self._lines_seen if self._lines_seen else 0.0

    @property
    def is_over(self) -> bool:
        """Whether each line has its end."""
        return not self.batch.counts.processing and not self.blocks

    @property
    def version(self) -> VersionKey:
        return VersionKey(self.entry.model, self.entry.version)

    @property
    def has_more(self) -> bool:
        """Whether there are lines to be sent."""
        in_time = self.batch.expires_at > self._seams.now()
        return in_time and not self.at_end and self.batch.status is BatchStatus.IN_PROGRESS

    def room(self, window_s: float) -> int:
        free = self.share.room(window_s, self._seams.clock_s())
        return free if free >= BLOCK_ROWS else 0  # a block of what is left would be a small one

    async def feed(self, lead: Lead, most_rows: int) -> int:
        """Send the next lines, of so many rows at most, or one line. Returns how many rows."""
        run_rows = max(1, self.entry.max_batch_size)
        most_rows = whole_blocks(most_rows, run_rows)
        chunk = await self._lines.ahead(self._cursor, min(most_rows, whole_blocks(MOST_LINES, run_rows)))
        if not chunk:
            self.at_end = True
            return 0
        rows, bad, last = await asyncio.to_thread(self._lines.rows, chunk, most_rows)
        most_bytes = min(BLOCK_BYTES, self._seams.most_record_bytes)
        made = await asyncio.to_thread(make_blocks, rows, most_bytes=most_bytes, run_rows=run_rows)
        blocks = self._numbered(made)
        after = Cursor(offset=last.end, line=last.number + 1, block=self._cursor.block + len(blocks))
        await self._advance(lead, after, blocks, [block.rows for block in made], bad)
        rows_made = sum(block.rows for block in made)
        self._rows_seen, self._lines_seen = self._rows_seen + rows_made, self._lines_seen + len(rows)
        await self._publish(list(zip(blocks, made, strict=True)))
        return rows_made

    async def send_again(self, blocks: Sequence[Block]) -> None:
        """What was planned, and perhaps never sent: the same rows under the same ids."""
        for block in blocks:
            await self._publish([(block, await self._lines.made(block))])

    async def collect(self, lead: Lead, ended: Sequence[tuple[Block, Job]]) -> None:
        """Write down what blocks gave whose jobs have ended; those that one row may have failed are sent in halves."""
        over: list[Block] = []
        lines: list[Written] = []
        now_s = self._seams.clock_s()
        for block, job in ended:
            if len(block.lines) > 1 and may_be_a_row(job.error) and self.batch.status is BatchStatus.IN_PROGRESS:
                await self._divide(lead, block)
                continue
            over.append(block)
            lines += await asyncio.to_thread(lines_of, job, block.lines, self.entry.signature, self.batch.id)
        if over:
            await self._advance(lead, self._cursor, (), (), lines, over=[block.number for block in over])
            for block in over:
                self.rate.ended(block.rows, now_s)
                self.share.ended(block.rows, now_s)
        if not self.blocks:
            self.rate.idle()
        self.share.hold(self.batch.id, self.rows_in_lane, now_s)

    async def give_up_rest(self, lead: Lead, end: LineEnd) -> None:
        """Give an end to lines that were never sent; some of them at a time."""
        chunk = await self._lines.ahead(self._cursor, UNRUN_LINES)
        if not chunk:
            self.at_end = True
            return
        lines = self._lines.never_run(chunk, end)
        after = msgspec.structs.replace(self._cursor, offset=chunk[-1].end, line=chunk[-1].number + 1)
        await self._advance(lead, after, (), (), lines)

    async def count_rest(self, lead: Lead, end: LineEnd) -> None:
        """The same where the input is gone: nobody knows the names of its lines any more, so they are counted only."""
        in_lane = sum(len(block.lines) for block in self.blocks.values())
        ends = {end: self.batch.counts.processing - in_lane}
        await self._take(lead, Step(batch_id=self.batch.id, before=self._cursor, after=self._cursor, ends=ends))
        self.at_end = True

    async def _divide(self, lead: Lead, block: Block) -> None:
        middle = len(block.lines) // 2
        numbered = [
            Block(number=self._cursor.block + place, job_id=new_job_id(), lines=lines)
            for place, lines in enumerate((block.lines[:middle], block.lines[middle:]))
        ]
        after = msgspec.structs.replace(self._cursor, block=self._cursor.block + 2)
        metrics.DIVIDED.inc()
        log.info("a block is divided", batch=self.batch.id, block=block.number, lines=len(block.lines))
        await self._advance(lead, after, numbered, [each.rows for each in numbered], (), over=[block.number])
        await self._publish([(each, await self._lines.made(each)) for each in numbered])

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
        parts = await self.outputs.write(lines)
        now = self._seams.now()
        step = Step(
            batch_id=self.batch.id,
            before=self._cursor,
            after=after,
            blocks=blocks,
            jobs=[self._job(block, count, now) for block, count in zip(blocks, rows, strict=True)],
            over=over,
            ends=Counter(line.end for line in lines),
            parts=parts,
        )
        await self._take(lead, step)

    async def _take(self, lead: Lead, step: Step) -> None:
        if not await self._seams.work.advance(lead, step):
            raise Stale
        self._cursor = step.after
        for number in step.over:
            self.jobs_in_lane.discard(self.blocks.pop(number).job_id)
        self.jobs_in_lane.update(block.job_id for block in step.blocks)
        self.blocks |= {block.number: block for block in step.blocks}
        self.outputs.take(step.parts)
        self.batch = msgspec.structs.replace(self.batch, counts=self.batch.counts.plus(step.ends))
        for end, lines in step.ends.items():
            metrics.LINES.labels(end).inc(lines)
        if self.blocks:
            now_s = self._seams.clock_s()
            self.rate.began(now_s)
            self.share.hold(self.batch.id, self.rows_in_lane, now_s)

    def _numbered(self, made: Sequence[MadeBlock]) -> list[Block]:
        first = self._cursor.block
        return [Block(number=first + place, job_id=new_job_id(), lines=block.lines) for place, block in enumerate(made)]

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
        metrics.ROWS.inc(sum(made.rows for _, made in blocks))

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
            retention_s=None if entry.retention_s is None else max(entry.retention_s, COLLECTED_WITHIN_S),
            row_errors=True,
        )
