"""A tier: jobs that wait, all for the same time, to be tried again. Each is put back into its lane when it is due."""

import asyncio
from contextlib import suppress
from typing import Final

from producers.protocols import Publisher
from runtime.clock import Clock
from schemas.topics import Topics
from workers.consuming.offsets import Partition
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement, publish_replacements
from workers.router import metrics
from workers.router.placing import Placing

FETCH_RECORDS: Final = 500
FETCH_TIMEOUT_S: Final = 0.5


class Tier:
    """Holds what one fetch gave until the last of it is due: what lies behind is due later still.

    Waiting is not polling; heartbeats go on beside it. A partition that is lost takes what waits of it along: offsets
    are committed only of what was put back, so the rest comes again to whoever has the partition next.
    """

    def __init__(
        self, number: int, delay_s: float, publisher: Publisher, topics: Topics, placing: Placing, clock: Clock
    ) -> None:
        self.number = number
        self._delay_s = delay_s
        self._publisher = publisher
        self._topics = topics
        self._placing = placing
        self._clock = clock
        self._waiting: list[Record] = []
        self._changed = asyncio.Event()
        self._returning: asyncio.Task[None] | None = None

    async def run(self, consumer: Consumer) -> None:
        """Until canceled. A job that is being put back then goes on, for `drain` to wait for."""
        while True:
            self._waiting = list(await consumer.fetch(FETCH_RECORDS, FETCH_TIMEOUT_S))
            while self._waiting:
                await self._until_due()
                await self._return_due(consumer)

    async def drain(self, partitions: frozenset[Partition]) -> None:
        """Forget what waits of these partitions; return when nothing of them is being put back any more."""
        self._waiting = [record for record in self._waiting if (record.topic, record.partition) not in partitions]
        self._changed.set()
        if self._returning is not None:
            await asyncio.wait([self._returning])

    def _wait_s(self, record: Record) -> float:
        return record.timestamp_ms / 1000 + self._delay_s - self._clock().timestamp()

    async def _until_due(self) -> None:
        """Until the first of those that wait is due, or there is none any more."""
        while self._waiting and (wait_s := min(map(self._wait_s, self._waiting))) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def _return_due(self, consumer: Consumer) -> None:
        due: list[Record] = []
        later: list[Record] = []
        for record in self._waiting:
            (later if self._wait_s(record) > 0 else due).append(record)
        self._waiting = later
        if due:
            replacements = [self._replacement(record) for record in due]
            self._returning = asyncio.create_task(publish_replacements(consumer, self._publisher, replacements))
            await asyncio.shield(self._returning)

    def _replacement(self, record: Record) -> Replacement:
        replacement = self._placing.again(record, self._topics.retry_group(self.number))
        is_dead = replacement.out.topic == Topics.dead_letter(record.topic)
        metrics.RETRIES.labels(self.number, "dead" if is_dead else "returned").inc()
        return replacement
