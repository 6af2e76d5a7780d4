"""Everything that is written to some topics, by headers and value."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.settings import KafkaSettings


class Seen(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


class Tail:
    """Reads whole topics, without a group."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def of(self, topic: str) -> list[Seen]:
        return [each for each in self.seen if each.topic == topic]

    def ids(self, topic: str) -> list[str]:
        return [each.headers["ce_id"].decode() for each in self.of(topic)]

    async def follow(self, consumer: Any) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                self.seen.extend(Seen(r.topic, r.key, r.value, dict(r.headers)) for r in records)


@asynccontextmanager
async def tailing(settings: KafkaSettings, topics: Sequence[str]) -> AsyncIterator[Tail]:
    consumer = AIOKafkaConsumer(
        **settings.client_options(), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in await consumer._client._wait_on_metadata(topic)
        ]
        consumer.assign(partitions)
        tail = Tail()
        following = asyncio.create_task(tail.follow(consumer))
        yield tail
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    finally:
        await consumer.stop()
