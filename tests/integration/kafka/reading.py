"""Members of a group for tests: what they have fetched, and what they have finished."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from producers.protocols import Publisher
from runtime.settings import KafkaSettings
from schemas.records import OutRecord
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.protocols import Record


class Reader:
    """Fetches in a task of its own. Records stay open until they are finished by hand, or after `finish_within_s`."""

    def __init__(self, consumer: KafkaConsumer, finish_within_s: float | None, seed: int = 0) -> None:
        self.consumer = consumer
        self.fetched: list[Record] = []
        self.finished: list[Record] = []
        self._finish_within_s = finish_within_s
        self._random = random.Random(seed)  # noqa: S311 - an order, no secret

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            records = await self.consumer.fetch(50, timeout_s=0.1)
            self.fetched.extend(records)
            if self._finish_within_s is not None:
                for record in records:
                    loop.call_later(self._random.uniform(0, self._finish_within_s), self.finish, record)

    def finish(self, *records: Record) -> None:
        if all(map(self.consumer.owns, records)):
            self.finished.extend(records)
        self.consumer.done(records)

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for record in self.fetched]


@asynccontextmanager
async def reading(
    consumer: KafkaConsumer, finish_within_s: float | None = None, seed: int = 0
) -> AsyncIterator[Reader]:
    """A member that reads while the block lasts, and then leaves."""
    reader = Reader(consumer, finish_within_s, seed)
    async with consumer:
        task = asyncio.create_task(reader.run())
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def write(publisher: Publisher, topic: str, *values: bytes, partition: int | None = None) -> None:
    outcomes = await publisher.publish_all([OutRecord(topic, value, value, [], partition) for value in values])
    assert not any(outcomes)


async def committed(settings: KafkaSettings, group: str, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """What the broker holds for the group: offsets by partition, where there are any."""
    asking = AIOKafkaConsumer(**settings.client_options(), group_id=group, enable_auto_commit=False)
    await asking.start()
    try:
        offsets = {number: await asking.committed(TopicPartition(topic, number)) for number in partitions}
    finally:
        await asking.stop()
    return {number: offset for number, offset in offsets.items() if offset is not None}
