"""The sink's loop over what shadows were found to answer: from its topic to the store."""

import asyncio
from collections.abc import Sequence

from producers.protocols import Publisher
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import InvalidInput, StoreUnavailable
from schemas.shadows import ShadowFinding, decode_finding
from stores.shadows import ShadowStore
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement, burial, publish_replacements
from workers.sink import metrics
from workers.sink.reading import read_each

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
        read, dead = read_each(records, self._group, _read)
        await self._bury(dead)
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
                    await self._bury([burial(read[0][0], self._group, error)])
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

    async def _bury(self, dead: Sequence[Replacement]) -> None:
        if dead:
            metrics.FINDINGS.labels("dead").inc(len(dead))
            log.warning("records that tell nothing of shadows", count=len(dead), offset=dead[0].record.offset)
            await publish_replacements(self._consumer, self._publisher, dead)


def _read(record: Record) -> tuple[Record, ShadowFinding]:
    return record, decode_finding(record.value)
