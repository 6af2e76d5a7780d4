"""A transactional producer as others have one: librdkafka's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum

from confluent_kafka import Producer

from runtime.settings import KafkaSettings

REACH_S = 20.0


class End(Enum):
    COMMITTED = "committed"
    ABORTED = "aborted"


async def write_in_transaction(
    settings: KafkaSettings, topic: str, values: Sequence[bytes], end: End, key: bytes | None = None
) -> None:
    """Write the values to partition 0 in one transaction that ends so."""
    async with open_transaction(settings, topic, values, end, key):
        pass


@asynccontextmanager
async def open_transaction(
    settings: KafkaSettings, topic: str, values: Sequence[bytes], end: End, key: bytes | None = None
) -> AsyncIterator[None]:
    """The same, open while the block lasts: the broker has the records by then."""
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "transactional.id": f"{topic}.{end.value}.{values[0]!r}",
        }
    )

    def begin() -> None:
        producer.init_transactions(REACH_S)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, key, partition=0)
        assert producer.flush(REACH_S) == 0

    def finish() -> None:
        (producer.commit_transaction if end is End.COMMITTED else producer.abort_transaction)(REACH_S)

    await asyncio.to_thread(begin)
    try:
        yield
    finally:
        await asyncio.to_thread(finish)
