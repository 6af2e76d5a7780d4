"""The sink's loop over what shadows were found to answer: from its topic to the store."""

import asyncio
from collections.abc import Sequence

from producers.protocols import Publisher
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import InvalidInput, PenstockError, StoreUnavailable
from schemas.shadows import ShadowFinding, decode_finding
from stores.shadows import ShadowStore
from workers.consuming.protocols import Consumer, Record
from workers.replacements import burial, publish_replacements
from workers.sink import metrics

log = get_logger(__name__)


class FindingsPipeline:
    """Keeps batches of the topic. What tells nothing, or cannot be kept, becomes a dead letter."""

    def __init__(self, consumer: Consumer, publisher: Publisher, store: ShadowStore, group: str) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._store = store
        self._group = group

    async def work(self, records: Sequence[Record]) -> None:
        """Returns when every record of the batch is done, or its partition lost."""
        read: list[tuple[Record, ShadowFinding]] = []
        for record in records:
            try:
                read.append((record, decode_finding(record.value)))
            except PenstockError as error:
                await self._bury(record, error)
        await self._keep(read)

    async def _keep(self, read: Sequence[tuple[Record, ShadowFinding]]) -> None:
        """However long the store is away; not where all partitions were lost meanwhile."""
        for delay_s in delays_s():
            if not read:
                return
            try:
                await self._store.keep([finding for _, finding in read])
            except InvalidInput as error:  # one of them, and nothing was kept
                if len(read) == 1:
                    await self._bury(read[0][0], error)
                    return
                await self._keep(read[: len(read) // 2])
                await self._keep(read[len(read) // 2 :])
                return
            except StoreUnavailable as error:
                metrics.STORE_RETRIES.inc()
                log.warning("findings could not be kept, trying again", records=len(read), reason=error.message)
                await asyncio.sleep(delay_s)
                read = [each for each in read if self._consumer.owns(each[0])]
                continue
            metrics.FINDINGS.labels("kept").inc(len(read))
            self._consumer.done([record for record, _ in read])
            return

    async def _bury(self, record: Record, error: PenstockError) -> None:
        metrics.FINDINGS.labels("dead").inc()
        log.warning("a record that tells nothing of shadows", offset=record.offset, reason=error.message)
        await publish_replacements(self._consumer, self._publisher, [burial(record, self._group, error)])
