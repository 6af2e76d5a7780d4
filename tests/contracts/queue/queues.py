"""The two queues that the contract is held against: in memory, and Kafka."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from producers.kafka_publisher import KafkaPublisher
from producers.memory import MemoryLog
from producers.protocols import Publisher
from producers.topics import TopicPlan, ensure_topics
from runtime.settings import KafkaSettings
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.protocols import Consumer, Record
from workers.memory import MemoryGroup

PARTITIONS = 4
MAX_RECORD_BYTES = 64 * 1024


class Queue(Protocol):
    @property
    def publisher(self) -> Publisher: ...

    async def create(self, topic: str) -> None:
        """Make a topic of `PARTITIONS` partitions."""

    def member(self, group: str, topic: str) -> AbstractAsyncContextManager[Consumer]:
        """A member of the group; on leaving it does not wait for records that are open."""


class MemoryQueue:
    def __init__(self) -> None:
        self._log = MemoryLog(PARTITIONS, MAX_RECORD_BYTES)
        self._groups: dict[str, MemoryGroup] = {}
        self.publisher: Publisher = self._log

    async def create(self, topic: str) -> None:
        self._log.topics[topic]

    @asynccontextmanager
    async def member(self, group: str, topic: str) -> AsyncIterator[Consumer]:
        known = self._groups.setdefault(group, MemoryGroup(self._log, [topic]))
        async with known.member() as member:
            yield member


class KafkaQueue:
    def __init__(self, settings: KafkaSettings, publisher: Publisher) -> None:
        self._settings = settings
        self.publisher = publisher

    async def create(self, topic: str) -> None:
        await ensure_topics(self._settings, [TopicPlan(topic, PARTITIONS, {})])

    @asynccontextmanager
    async def member(self, group: str, topic: str) -> AsyncIterator[Consumer]:
        async with KafkaConsumer(self._settings, group, [topic], drain_limit_s=0) as member:
            yield member


@asynccontextmanager
async def kafka_queue(bootstrap_servers: str, prefix: str) -> AsyncIterator[KafkaQueue]:
    settings = KafkaSettings(
        kafka_bootstrap_servers=bootstrap_servers, topic_prefix=prefix, max_record_bytes=MAX_RECORD_BYTES
    )
    async with KafkaPublisher(settings) as publisher:
        yield KafkaQueue(settings, publisher)


async def fetch_count(consumer: Consumer, count: int, attempts: int = 60) -> list[Record]:
    """Fetch until there are `count` records. Joining a group takes Kafka some of the attempts."""
    records: list[Record] = []
    for _ in range(attempts):
        records.extend(await consumer.fetch(100, timeout_s=0.25))
        if len(records) >= count:
            return records
    raise AssertionError(f"{len(records)} of {count} records came")


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]
