"""What waits in a topic beside the lanes, to be put back into them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from producers.protocols import Publisher
from schemas.topics import Topics
from workers.consuming.offsets import Partition
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement, publish_replacements
from workers.router.placing import Placing

FETCH_RECORDS: Final = 500
FETCH_TIMEOUT_S: Final = 0.5


class Aside(ABC):
    """Holds what one fetch gave of `topic` until all of it was put back, as a member of `group`.

    Waiting is not polling; heartbeats go on beside it. A partition that is lost takes what waits of it along: offsets
    are committed only of what was put back, so the rest comes again to whoever has the partition next.
    """

    def __init__(self, topic: str, group: str, publisher: Publisher, placing: Placing) -> None:
        self.topic = topic
        self.group = group
        self._publisher = publisher
        self._placing = placing
        self._waiting: list[Record] = []
        self._changed = asyncio.Event()
        self._returning: asyncio.Task[None] | None = None

    async def run(self, consumer: Consumer) -> None:
        """Until canceled. What is being put back then goes on, for `drain` to wait for."""
        while True:
            self._waiting = list(await consumer.fetch(FETCH_RECORDS, FETCH_TIMEOUT_S))
            while self._waiting:
                await self._look(consumer)

    async def drain(self, partitions: frozenset[Partition]) -> None:
        """Forget what waits of these partitions; return when nothing of them is being put back any more."""
        self._waiting = [record for record in self._waiting if (record.topic, record.partition) not in partitions]
        self._changed.set()
        if self._returning is not None:
            await asyncio.wait([self._returning])

    @abstractmethod
    async def _look(self, consumer: Consumer) -> None:
        """Wait for a while, or put back some of what waits."""

    async def _put_back(self, consumer: Consumer, replacements: Sequence[Replacement]) -> None:
        self._returning = asyncio.create_task(publish_replacements(consumer, self._publisher, replacements))
        await asyncio.shield(self._returning)

    def _again(self, record: Record) -> tuple[Replacement, str]:
        """What is put in the stead of one that waits no more, and what becomes of it: `returned`, or `dead`."""
        replacement = self._placing.again(record, self.group)
        return replacement, "dead" if replacement.out.topic == Topics.dead_letter(record.topic) else "returned"
