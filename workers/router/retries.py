"""A tier: jobs that wait, all for the same time, to be tried again. Each is put back into its lane when it is due."""

import asyncio
from contextlib import suppress

from producers.protocols import Publisher
from runtime.clock import Clock
from schemas.topics import Topics
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement
from workers.router import metrics
from workers.router.asides import Aside
from workers.router.placing import Placing


class Tier(Aside):
    """Waits until the last of one fetch is due: what lies behind is due later still."""

    def __init__(
        self, number: int, delay_s: float, publisher: Publisher, topics: Topics, placing: Placing, clock: Clock
    ) -> None:
        super().__init__(topics.retry(number), topics.retry_group(number), publisher, placing)
        self._number = number
        self._delay_s = delay_s
        self._clock = clock

    async def _look(self, consumer: Consumer) -> None:
        await self._until_due()
        await self._return_due(consumer)

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
            await self._put_back(consumer, [self._replacement(record) for record in due])

    def _replacement(self, record: Record) -> Replacement:
        replacement, outcome = self._again(record)
        metrics.RETRIES.labels(self._number, outcome).inc()
        return replacement
