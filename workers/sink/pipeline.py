"""The sink's loop over one batch: write the ends down, wake the waiters, bury what is no end."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from producers.protocols import Publisher
from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from schemas.jobs import Terminal
from schemas.records import read_terminal_record
from stores.protocols import JobKey, ResultStore, Signals
from workers.consuming.protocols import Consumer, Record
from workers.replacements import publish_replacements
from workers.sink import metrics
from workers.sink.reading import read_each

log = get_logger(__name__)

TOLD_RESULT_BYTES: Final = 64 * 1024


class Pipeline:
    """Makes batches of the results topic durable. One statement a batch; the first end of a job counts."""

    def __init__(
        self,
        consumer: Consumer,
        publisher: Publisher,
        endings: ResultStore,
        signals: Signals,
        group: str,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._endings = endings
        self._signals = signals
        self._group = group
        self._clock = clock

    async def work(self, records: Sequence[Record]) -> None:
        """Returns when every record of the batch is done, or its partition lost."""
        started = time.perf_counter()
        ends, dead = read_each(records, self._group, _read)
        await self._finish(ends)
        if dead:
            metrics.RECORDS.labels("dead").inc(len(dead))
            log.warning("undecodable results", count=len(dead), offset=dead[0].record.offset)
            await publish_replacements(self._consumer, self._publisher, dead)
        metrics.BATCH_SECONDS.observe(time.perf_counter() - started)

    async def _finish(self, ends: list[tuple[Record, Terminal]]) -> None:
        """Make the ends durable, however long the store is away; then the records are done."""
        for delay_s in delays_s():
            if not ends:
                return
            try:
                first = await self._endings.finish([terminal for _, terminal in ends])
            except StoreUnavailable as error:
                metrics.STORE_RETRIES.inc()
                log.warning("ends could not be written down, trying again", jobs=len(ends), reason=error.message)
                await asyncio.sleep(delay_s)
                ends = [(record, terminal) for record, terminal in ends if self._consumer.owns(record)]
                continue
            self._count(first, ends)
            if first:
                await self._announce(first, _answers(first, ends))
            self._consumer.done(record for record, _ in ends)
            return

    def _count(self, first: Sequence[JobKey], ends: Sequence[tuple[Record, Terminal]]) -> None:
        metrics.RECORDS.labels("first").inc(len(first))
        metrics.RECORDS.labels("repeat").inc(len(ends) - len(first))
        oldest = ends[0][1]
        age_s = (self._clock() - oldest.created_at).total_seconds()
        metrics.JOB_SECONDS.labels(oldest.lane).observe(max(0.0, age_s))

    async def _announce(self, keys: Sequence[JobKey], answers: Sequence[Terminal]) -> None:
        """Waiters that are not woken ask the store before long."""
        try:
            await self._signals.announce_done(keys, answers)
        except StoreUnavailable as error:
            metrics.UNANNOUNCED.inc(len(keys))
            log.info("waiters could not be woken", jobs=len(keys), reason=error.message)


def _read(record: Record) -> tuple[Record, Terminal]:
    return record, read_terminal_record(record.headers, record.value)


def _answers(first: Sequence[JobKey], ends: Sequence[tuple[Record, Terminal]]) -> list[Terminal]:
    """What gateways can be told of instead of reading it: ends that count, whose results are small."""
    won = set(first)
    answers = []
    for _, end in ends:
        key = JobKey(end.tenant, end.id)
        if key in won:
            won.remove(key)  # of two ends of a job the first counts
            if end.reply_to is not None and (end.result is None or len(end.result.value) <= TOLD_RESULT_BYTES):
                answers.append(end)
    return answers
