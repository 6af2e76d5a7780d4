"""The sink's other loop: what callers tell of answers, from their topic to the store."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from producers.protocols import Publisher
from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import InvalidInput, JobNotFound, PenstockError, ResultNotReady, StoreUnavailable, Undecodable
from schemas.feedback import Told
from schemas.feedback_records import read_feedback_record
from schemas.names import DEFAULT_TENANT
from stores.feedback import FeedbackStore
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement, burial, publish_replacements
from workers.sink import metrics

log = get_logger(__name__)

# A producer may tell of an answer before the sink has written that answer down: both lie in Kafka. So long after it was
# told a job that has not ended is taken to be none.
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

    async def work(self, records: Sequence[Record]) -> None:
        """Returns when every record of the batch is done, or its partition lost."""
        open_records, dead = self._read(records)
        await self._bury(dead)
        while open_records:
            open_records = await self._tell(open_records)
            if open_records:
                await asyncio.sleep(AGAIN_S)

    def _read(self, records: Sequence[Record]) -> tuple[list[_Read], list[Replacement]]:
        read: list[_Read] = []
        dead: list[Replacement] = []
        for record in records:
            try:
                written_at = self._written_at(record)
                told = read_feedback_record(record.headers, record.value, DEFAULT_TENANT, written_at)
                read.append(_Read(record, told, written_at))
            except Undecodable as error:
                dead.append(burial(record, self._group, error))
            except Exception as error:  # a record that we fail over must not stand in the way of those behind it
                log.error("feedback could not be read", offset=record.offset, exc_info=error)
                why = Undecodable(f"the sink failed to read the record: {type(error).__name__}")
                dead.append(burial(record, self._group, why))
        return read, dead

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
        for each, answer in zip(read, answers, strict=False):
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
        """However long the store is away; none where all partitions were lost meanwhile."""
        for delay_s in delays_s():
            try:
                return await self._store.tell([each.told for each in read])
            except InvalidInput as error:  # nothing was kept: what no store can hold must not keep back the others
                if len(read) == 1:
                    return [error]
                half = len(read) // 2
                return [*await self._answers(read[:half]), *await self._answers(read[half:])]
            except StoreUnavailable as error:
                metrics.STORE_RETRIES.inc()
                log.warning("feedback could not be kept, trying again", records=len(read), reason=error.message)
                await asyncio.sleep(delay_s)
            if not any(self._consumer.owns(each.record) for each in read):
                break
        return []

    async def _bury(self, dead: Sequence[Replacement]) -> None:
        if dead:
            metrics.FEEDBACK.labels("dead").inc(len(dead))
            log.warning("feedback that cannot be kept", count=len(dead), offset=dead[0].record.offset)
            await publish_replacements(self._consumer, self._publisher, dead)

    def _is_young(self, read: _Read) -> bool:
        return (self._clock() - read.written_at).total_seconds() < PATIENCE_S
