"""A Kafka client that does as it is told: stands in for aiokafka's producer."""

import asyncio
from collections import deque
from typing import Any

from aiokafka.errors import KafkaError

BATCH_RECORDS = 100
NOT_ENCODABLE = b"not encodable"


class FakeCluster:
    def __init__(self, topics: dict[str, int]) -> None:
        self.topics = topics

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        count = self.topics.get(topic)
        return set(range(count)) if count else None


class FakeClient:
    def __init__(self, topics: dict[str, int]) -> None:
        self.cluster = FakeCluster({})
        self.on_broker = topics
        self.reachable = True
        self.hangs = False
        self.asked_for: set[str] = set()
        self.updates = 0

    def add_topic(self, topic: str) -> None:
        self.asked_for.add(topic)

    def force_metadata_update(self) -> "asyncio.Future[bool]":
        """Answered at once, or never where the broker `hangs`."""
        self.updates += 1
        updated: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self.hangs:
            return updated
        if self.reachable:
            self.cluster.topics = {name: self.on_broker[name] for name in self.asked_for & self.on_broker.keys()}
        updated.set_result(self.reachable)
        return updated


class FakeBatch:
    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Any) -> object | None:
        if value == NOT_ENCODABLE:
            raise TypeError("a fault of the client")
        if len(self.values) == BATCH_RECORDS:
            return None
        self.values.append(value)
        return object()


class FakeProducer:
    """Keeps what it is sent. Batches are acknowledged at once, or by `acknowledge` when `hold` is set."""

    def __init__(self, topics: dict[str, int]) -> None:
        self.client = FakeClient(topics)
        self.sent: list[tuple[str, int, list[bytes | None]]] = []
        self.hold = False
        self.takes_nothing = False
        self.held: deque[asyncio.Future[None]] = deque()
        self.failures: deque[Exception | None] = deque()
        self.refuses: set[bytes] = set()
        self.refusal: Exception | None = None
        self.start_error: KafkaError | None = None
        self.stopped = False

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error

    async def stop(self) -> None:
        self.stopped = True

    def create_batch(self) -> FakeBatch:
        return FakeBatch()

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> "asyncio.Future[None]":
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failure = self.failures.popleft() if self.failures else None
        if self.refuses & set(batch.values):
            failure = self.refusal
        if failure is not None:
            raise failure
        if self.takes_nothing:
            await asyncio.Event().wait()
        self.sent.append((topic, partition, batch.values))
        if self.hold:
            self.held.append(acknowledged)
        else:
            acknowledged.set_result(None)
        return acknowledged

    def acknowledge(self, error: Exception | None = None) -> None:
        acknowledged = self.held.popleft()
        if error is None:
            acknowledged.set_result(None)
        else:
            acknowledged.set_exception(error)
