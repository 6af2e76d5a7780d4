"""The sink's loop over feedback: what callers tell of answers, from their topic to the store."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from producers.protocols import Publisher
from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import InvalidInput, JobNotFound, PenstockError, ResultNotReady, StoreUnavailable
from schemas.feedback import Told
from schemas.feedback_records import read_feedback_record
from schemas.names import DEFAULT_TENANT
from stores.feedback import FeedbackStore
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement, burial, publish_replacements
from workers.sink import metrics
from workers.sink.reading import read_each

log = get_logger(__name__)

# A producer may tell of an answer before the sink has written that answer down: both lie in Kafka. So long after it was
# told, and after ends could be written down again, a job that has not ended is taken to be none.
PATIENCE_S: Final = 30.0
AGAIN_S: Final = 1.0


class _Read(NamedTuple):
    record: Record
    told: Told
    written_at: datetime


class FeedbackPipeline:
    """Keeps batches of the feedback topic. What cannot be kept becomes a dead letter."""

    def __init__(
        self, consumer: Consumer, publisher: Publisher, store: FeedbackStore, group: str, clock: Clock
    ) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._store = store
        self._group = group
        self._clock = clock
        self._able_since = clock()  # to write down: before, ends have gathered

    async def work(self, records: Sequence[Record]) -> None:
        """Returns when every record of the batch is done, or its partition lost."""
        open_records, dead = read_each(records, self._group, self._read)
        await self._bury(dead)
        while open_records:
            open_records = await self._tell(open_records)
            if open_records:
                await asyncio.sleep(AGAIN_S)

    def _read(self, record: Record) -> _Read:
        written_at = self._written_at(record)
        told = read_feedback_record(record.headers, record.value, DEFAULT_TENANT, written_at)
        return _Read(record, told, written_at)

    def _written_at(self, record: Record) -> datetime:
        """Kafka's time of the record; never later than now, whatever its producer's clock says."""
        now = self._clock()
        written_s = record.timestamp_ms / 1000
        return now if written_s >= now.timestamp() else datetime.fromtimestamp(max(0.0, written_s), UTC)

    async def _tell(self, read: Sequence[_Read]) -> list[_Read]:
        """Keep what can be kept, and bury what cannot. Returns those whose job may be written down yet."""
        answers = await self._answers(read)
        waiting: list[_Read] = []
        dead: list[Replacement] = []
        kept: list[Record] = []
        for each, answer in zip(read, answers, strict=True):
            if answer is None:
                continue
            if not isinstance(answer, PenstockError):
                kept.append(each.record)
            elif isinstance(answer, JobNotFound | ResultNotReady) and self._is_young(each):
                waiting.append(each)
            else:
                dead.append(burial(each.record, self._group, answer))
        metrics.FEEDBACK.labels("kept").inc(len(kept))
        self._consumer.done(kept)
        await self._bury(dead)
        return [each for each in waiting if self._consumer.owns(each.record)]

    async def _answers(self, read: Sequence[_Read]) -> Sequence[object]:
        """However long the store is away; None of those whose partitions were all lost meanwhile."""
        for delay_s in delays_s():
            try:
                return await self._store.tell([each.told for each in read])
            except InvalidInput as error:  # nothing was kept: what no store can hold must not keep back the others
                if len(read) == 1:
                    return [error]
                half = len(read) // 2
                return [*await self._answers(read[:half]), *await self._answers(read[half:])]
            except StoreUnavailable as error:
                self._able_since = self._clock()
                metrics.STORE_RETRIES.inc()
                log.warning("feedback could not be kept, trying again", records=len(read), reason=error.message)
                await asyncio.sleep(delay_s)
            if not any(self._consumer.owns(each.record) for each in read):
                break
        return [None] * len(read)

    async def _bury(self, dead: Sequence[Replacement]) -> None:
        if dead:
            metrics.FEEDBACK.labels("dead").inc(len(dead))
            log.warning("feedback that cannot be kept", count=len(dead), offset=dead[0].record.offset)
            await publish_replacements(self._consumer, self._publisher, dead)

    def _is_young(self, read: _Read) -> bool:
        since = max(read.written_at, self._able_since)
        return (self._clock() - since).total_seconds() < PATIENCE_S
