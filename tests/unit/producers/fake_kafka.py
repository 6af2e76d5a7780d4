"""A Kafka client that does as it is told: stands in for aiokafka's, with the brokers behind it."""

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.conn import CloseReason
from aiokafka.errors import BrokerResponseError, KafkaError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.memory_records import MemoryRecords


class FakeCluster:
    """Of `brokers` brokers, broker `number % brokers` leads partition `number`."""

    def __init__(self) -> None:
        self.topics: dict[str, int] = {}
        self.brokers = 1
        self.leaderless = False

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        count = self.topics.get(topic)
        return set(range(count)) if count else None

    def leader_for_partition(self, partition: TopicPartition) -> int:
        return -1 if self.leaderless else partition.partition % self.brokers


class FakeKafka:
    """Keeps what it is sent. Requests are answered at once, or by `acknowledge` when `hold` is set.

    The next requests meet `failures`, one each: an error that brokers answer with is the answer, any other one is
    raised. All meet `failure`.
    """

    def __init__(self, topics: dict[str, int]) -> None:
        self.cluster = FakeCluster()
        self.on_broker = topics
        self.reachable = True
        self.hangs = False
        self.asked_for: set[str] = set()
        self.updates = 0
        self.sent: list[tuple[str, int, list[bytes | None]]] = []
        self.requests: list[tuple[int, int]] = []  # the broker, and how many batches
        self.hold = False
        self.held: deque[tuple[int, asyncio.Future[Exception | None]]] = deque()
        self.holding_brokers: set[int] = set()
        self.failures: deque[Exception] = deque()
        self.failure: Exception | None = None
        self.refuses: set[bytes] = set()
        self.refusal: KafkaError | None = None
        self.connects: bool | None = True  # None: is never done with connecting
        self.start_error: KafkaError | None = None
        self.stopped = False
        self.versions = {ProduceRequest.API_KEY: (0, 12)}

    async def bootstrap(self) -> None:
        if self.start_error is not None:
            raise self.start_error

    async def close(self) -> None:
        self.stopped = True

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

    async def connection(self, broker: int) -> "FakeConnection | None":
        if self.connects is None:
            await asyncio.Event().wait()
        return FakeConnection(self, broker) if self.connects else None

    async def send(self, broker: int, request: ProduceRequest) -> Any:
        batches = {(topic, number): _values(batch) for topic, parts in request._topics for number, batch in parts}
        failure = self.failures.popleft() if self.failures else self.failure
        if failure is None and (self.hold or broker in self.holding_brokers):
            self._keep(broker, batches)
            answer: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
            self.held.append((broker, answer))
            failure = await answer
        elif failure is None:
            self._keep(broker, batches)
        if failure is not None and not isinstance(failure, BrokerResponseError):
            raise failure
        code = 0 if failure is None else failure.errno
        return _answer({at: self._refused(values) or code for at, values in batches.items()})

    def _keep(self, broker: int, batches: dict[tuple[str, int], list[bytes | None]]) -> None:
        self.requests.append((broker, len(batches)))
        self.sent += [(*at, values) for at, values in batches.items() if not self._refused(values)]

    def _refused(self, values: list[bytes | None]) -> int:
        return self.refusal.errno if self.refusal is not None and self.refuses & set(values) else 0

    def acknowledge(self, error: Exception | None = None) -> None:
        _, answer = self.held.popleft()
        answer.set_result(error)


class FakeConnection:
    def __init__(self, kafka: FakeKafka, broker: int) -> None:
        self._kafka = kafka
        self._broker = broker
        self.closed = False

    def connected(self) -> bool:
        return bool(self._kafka.connects) and not self.closed

    async def send(self, request: ProduceRequest) -> Any:
        request.prepare(self._kafka.versions)
        return await self._kafka.send(self._broker, request)

    def close(self, reason: CloseReason) -> None:
        self.closed = reason is CloseReason.CONNECTION_TIMEOUT


def _values(batch: bytes) -> list[bytes | None]:
    records = MemoryRecords(bytes(batch))
    values: list[bytes | None] = []
    while (found := records.next_batch()) is not None:
        values += [record.value for record in found]
    return values


def _answer(codes: dict[tuple[str, int], int]) -> SimpleNamespace:
    """As the broker's answer, in the part that all its versions share."""
    return SimpleNamespace(topics=[(topic, [(number, code, 0)]) for (topic, number), code in codes.items()])
