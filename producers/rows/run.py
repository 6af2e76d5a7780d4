"""Running rows in bulk over Kafka: blocks go out within a window, and what they gave is written in order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from producers.protocols import Publisher
from producers.rows.answers import RowAnswer, answers_of, lines_of
from producers.rows.fitting import Fitted, Group, fit
from producers.rows.journal import Journal
from producers.rows.sources import Chunk
from producers.window import RowRate, room
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.batches import BLOCK_BYTES
from schemas.blocks import encode_block, may_be_a_row
from schemas.errors import DeadlineExceeded, PayloadTooLarge, PenstockError
from schemas.jobs import Terminal, new_job_id
from schemas.records import JOB_TYPE, ROW_ERRORS_HEADER, Headers, OutRecord, timestamp
from schemas.signature import Signature
from schemas.tensors import Array
from schemas.topics import LaneClass

log = get_logger(__name__)

SOURCE: Final = "/penstock/batch"
# A job ends at its deadline; the record that says so takes a moment more.
GRACE_S: Final = 30.0
LOOK_EVERY_S: Final = 0.5


@dataclass(slots=True)
class _Block:
    """A chunk under way: rows that were sent and have no answer yet by job, and what is known of the others."""

    number: int
    chunk: Chunk
    fitted: Fitted
    answers: list[RowAnswer | None]
    waiting: dict[str, Group] = field(default_factory=dict)
    until: datetime | None = None


class Progress:
    """How far a run has come, for whoever shows it."""

    def __init__(self) -> None:
        self.rows = self.failed = self.in_lane = 0
        self.rows_per_s: float | None = None


class RowRun:
    """A run of chunks by one version, from the first that the `journal` has not: what was under way when a run ended is
    run again by the next one, and each row has one line."""

    def __init__(
        self,
        journal: Journal,
        signature: Signature,
        publisher: Publisher,
        topic: str,
        *,
        now: Callable[[], datetime],
        window_s: float,
        timeout_s: float,
        told: Callable[[Progress], None] = lambda _: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._signature = signature
        self._publisher = publisher
        self._topic = topic
        self._now = now
        self._window_s = window_s
        self._timeout_s = timeout_s
        self._told = told
        self._clock_s = clock_s
        self._rate = RowRate()
        self._blocks: dict[int, _Block] = {}
        self._owner: dict[str, _Block] = {}
        self._changed = asyncio.Event()
        self._again: list[tuple[_Block, Group]] = []
        self.progress = Progress()

    async def run(self, chunks: Iterator[Chunk], terminals: AsyncIterator[Terminal]) -> None:
        """Return when each row is written. Raises `InvalidInput` where the source cannot be read or has other columns
        than the model takes; what Kafka does not do at once is tried again for ever."""
        async with asyncio.TaskGroup() as tasks:
            collecting = tasks.create_task(self._collect(terminals))
            await self._send_all(chunks)
            collecting.cancel()

    async def _send_all(self, chunks: Iterator[Chunk]) -> None:
        number = 0
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            if number >= self._journal.blocks:
                await self._until(partial(self._has_room, chunk.rows))
                block = await asyncio.to_thread(self._made, number, chunk)
                self._blocks[number] = block
                for group in block.fitted.groups:
                    await self._send(block, group)
                self._write_what_is_over()
            else:
                self.progress.rows += chunk.rows
            number += 1
        self.progress.failed = self._journal.failed
        await self._until(lambda: not self._blocks)

    def _has_room(self, rows: int) -> bool:
        """Whether a block may be sent: also of what waits to be written since one before it has not ended."""
        held = sum(block.chunk.rows for block in self._blocks.values())
        return not held or room(self._rate.rows_per_s(self._clock_s()), self._window_s, held) >= rows

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._expire()
            while self._again:
                await self._send(*self._again.pop())
            self._changed.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _made(self, number: int, chunk: Chunk) -> _Block:
        fitted = fit(self._signature, chunk)
        answers: list[RowAnswer | None] = [None] * chunk.rows
        for row, error in fitted.errors.items():
            answers[row] = RowAnswer(error=error.body())
        return _Block(number, chunk, fitted, answers)

    async def _send(self, block: _Block, group: Group) -> None:
        """Rows of the block as one job; as several where they are too large for one."""
        if group.bytes > BLOCK_BYTES and len(group.rows) > 1:
            for half in group.halves():
                await self._send(block, half)
            return
        now = self._now()
        block.until = block.until or now + timedelta(seconds=self._timeout_s)
        job_id = new_job_id()
        block.waiting[job_id] = group
        self._owner[job_id] = block
        self._rate.began(self._clock_s())
        self.progress.in_lane += len(group.rows)
        await self._publish(block, job_id, group, self._record(job_id, group.inputs, now, block.until))

    async def _publish(self, block: _Block, job_id: str, group: Group, record: OutRecord) -> None:
        for delay_s in delays_s():
            try:
                await self._publisher.publish(record)
                return
            except PayloadTooLarge as error:
                self._too_large(block, job_id, group, error)
                return
            except PenstockError as error:
                log.warning("a block is not sent, trying again", reason=error.message)
            await asyncio.sleep(delay_s)

    def _too_large(self, block: _Block, job_id: str, group: Group, error: PenstockError) -> None:
        """What is too large for a record is divided; a row that is so alone fails."""
        if len(group.rows) > 1:
            self._divide(block, job_id)
        else:
            self._answered(block, job_id, [RowAnswer(error=error.body())])

    def _record(self, job_id: str, inputs: Mapping[str, Array], now: datetime, until: datetime) -> OutRecord:
        payload, plan = encode_block(inputs), self._journal.plan
        headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", job_id.encode()),
            ("ce_source", SOURCE.encode()),
            ("ce_type", JOB_TYPE.encode()),
            ("ce_time", timestamp(now).encode()),
            ("ce_model", plan.model.encode()),
            ("ce_modelversion", plan.version.encode()),
            ("ce_lane", LaneClass.BULK.encode()),
            ("ce_deadline", timestamp(until).encode()),
            ("ce_jsonlength", b"%d" % (payload.json_length or 0)),
            (ROW_ERRORS_HEADER, b"true"),
            ("content-type", payload.content_type.encode()),
        ]
        return OutRecord(self._topic, job_id.encode(), payload.value, headers, any_partition=True)

    async def _collect(self, terminals: AsyncIterator[Terminal]) -> None:
        async for terminal in terminals:
            block = self._owner.get(terminal.id)
            if block is None or terminal.id not in block.waiting:
                continue  # another's, or the second end of ours
            group = block.waiting[terminal.id]
            if may_be_a_row(terminal.error) and len(group.rows) > 1:
                self._divide(block, terminal.id)
                continue
            answers = await asyncio.to_thread(answers_of, terminal, len(group.rows), self._signature)
            if terminal.id in block.waiting:  # else its time was up meanwhile
                self._answered(block, terminal.id, answers)
                self._write_what_is_over()

    def _divide(self, block: _Block, job_id: str) -> None:
        self._again += [(block, half) for half in self._forget(block, job_id).halves()]
        self._changed.set()

    def _answered(self, block: _Block, job_id: str, answers: list[RowAnswer]) -> None:
        group = self._forget(block, job_id)
        for row, answer in zip(group.rows, answers, strict=True):
            block.answers[row] = answer
        self._rate.ended(len(group.rows), self._clock_s())
        self._changed.set()

    def _forget(self, block: _Block, job_id: str) -> Group:
        group = block.waiting.pop(job_id)
        del self._owner[job_id]
        self.progress.in_lane -= len(group.rows)
        return group

    def _expire(self) -> None:
        """Give rows an end whose answer has not come by the deadline."""
        late = self._now() - timedelta(seconds=GRACE_S)
        error = DeadlineExceeded("no result came by the deadline").body()
        for block in self._blocks.values():
            if block.until is not None and block.until < late:
                for job_id, group in list(block.waiting.items()):
                    self._answered(block, job_id, [RowAnswer(error=error)] * len(group.rows))
        self._write_what_is_over()

    def _write_what_is_over(self) -> None:
        """Blocks in their order, as far as each of their rows has an answer."""
        while (block := self._blocks.get(self._journal.blocks)) is not None and all(block.answers):
            answers = [answer for answer in block.answers if answer is not None]
            failed = sum(answer.error is not None for answer in answers)
            self._journal.write(lines_of(block.chunk.start, answers, block.chunk.ids), failed)
            del self._blocks[block.number]
            self.progress.rows += block.chunk.rows
            self.progress.failed = self._journal.failed
            self.progress.rows_per_s = self._rate.rows_per_s(self._clock_s())
            self._told(self.progress)
            self._changed.set()
