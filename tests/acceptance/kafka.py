"""Kafka through librdkafka, the client that most of the world uses: no code of ours."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.waiting import eventually

REACH_S = 20.0
# Brokers go away in some tests: librdkafka would tell of every attempt to reach them.
QUIET = 2
LARGEST = 16 * 1024 * 1024  # the broker's own limit is the one that counts


class Heard(NamedTuple):
    """A record as a reader sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]

    @property
    def job_id(self) -> str:
        return self.headers["ce_id"].decode()

    @property
    def status(self) -> str:
        return self.headers["ce_status"].decode()


Headers = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes | None]]


class Said(NamedTuple):
    """A record as a producer writes it. Headers may be pairs, where a name comes twice, or has no value."""

    value: bytes | None
    headers: Headers = ()
    key: str | bytes | None = None


def send(
    bootstrap_servers: str,
    topic: str,
    value: bytes | None,
    with_headers: Headers | None = None,
    key: str | bytes | None = None,
) -> tuple[int, int]:
    """Produce one record; returns partition and offset once the broker has it."""
    (delivered,) = send_all(bootstrap_servers, topic, [Said(value, with_headers or {}, key)])
    return delivered


@cache
def producer_of(bootstrap_servers: str, codec: str = "none") -> Producer:
    """One for all that is sent there: a new one asks for its id first, which takes half a second."""
    settings = {"bootstrap.servers": bootstrap_servers, "compression.type": codec, "log_level": QUIET}
    return Producer({**settings, "enable.idempotence": True, "message.max.bytes": LARGEST})


def send_all(bootstrap_servers: str, topic: str, records: Sequence[Said], codec: str = "none") -> list[tuple[int, int]]:
    """Produce records; returns partitions and offsets, in whatever order, once the broker has them all."""
    producer = producer_of(bootstrap_servers, codec)
    delivered: list[tuple[int, int]] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        delivered.append(place(message))

    for record in records:
        pairs = list(record.headers.items() if isinstance(record.headers, Mapping) else record.headers)
        producer.produce(topic, record.value, record.key, headers=pairs, on_delivery=on_delivery)
    producer.flush(REACH_S)
    assert len(delivered) == len(records), f"only {len(delivered)} of {len(records)} records reached {topic}"
    return delivered


class TopicReader:
    """All partitions of a topic, from their beginning, without a group."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "reader",  # librdkafka asks for one; nothing is ever committed to it
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            }
        )
        self.heard: list[Heard] = []

    def __enter__(self) -> Self:
        described = self._consumer.list_topics(self._topic, timeout=REACH_S).topics[self._topic]
        if described.error is not None:
            raise KafkaException(described.error)
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in described.partitions])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read_to_end(self) -> list[Heard]:
        """Everything up to what the topic held when this was called; keeps what was heard before."""
        ends = {}
        for partition in self._consumer.assignment():
            _, end = self._consumer.get_watermark_offsets(partition, timeout=REACH_S)
            ends[partition.partition] = end
        deadline = time.monotonic() + REACH_S
        while any(at.offset < ends[at.partition] for at in self._positions(ends)):
            assert time.monotonic() < deadline, f"{self._topic} could not be read to its end"
            self.heard += self._poll()
        return self.heard

    def _positions(self, ends: Mapping[int, int]) -> Iterator[TopicPartition]:
        for at in self._consumer.position([TopicPartition(self._topic, number) for number in ends]):
            # Nothing was fetched yet from a partition without a position.
            yield at if at.offset >= 0 else TopicPartition(self._topic, at.partition, 0)

    def _poll(self) -> list[Heard]:
        heard = []
        for message in self._consumer.consume(num_messages=500, timeout=0.05):
            failure = message.error()
            if failure is not None:
                raise KafkaException(failure)
            key, value = as_bytes(message.key()), as_bytes(message.value())
            heard.append(Heard(*place(message), key, value or b"", headers(message)))
        return heard


def place(message: Message) -> tuple[int, int]:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def headers(message: Message) -> dict[str, bytes]:
    return {name: as_bytes(value) or b"" for name, value in dict(message.headers() or []).items()}


def as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


async def read_topic(bootstrap_servers: str, topic: str) -> list[Heard]:
    def read() -> list[Heard]:
        with TopicReader(bootstrap_servers, topic) as reader:
            return reader.read_to_end()

    return await asyncio.to_thread(read)


async def results_of(bootstrap_servers: str, topic: str, job_id: str) -> list[Heard]:
    """The result records of one job, once there is one: read by its key, as many as there are."""
    with TopicReader(bootstrap_servers, topic) as reader:

        async def found() -> list[Heard]:
            heard = await asyncio.to_thread(reader.read_to_end)
            return [record for record in heard if record.key == job_id.encode()]

        return await eventually(found, 30, f"a result of {job_id}")
