"""aiokafka beside librdkafka's client: processor time of one process a record, published and fetched.

Records of 400 bytes with four headers, in groups of 1 and of 32, open loop, each group awaited (acks=all); the time
that the pacing itself takes is subtracted. What is fetched comes from another process.
"""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import util
from typing import Any, NamedTuple

import uvloop
from aiokafka import AIOKafkaConsumer

from benchmarks.figures import Rounds, Table
from benchmarks.latency import percentile_ms
from benchmarks.models import Models
from benchmarks.pacing import Work, paced
from benchmarks.processes import program
from benchmarks.services import services
from penstock.embedded.elsewhere import Service
from producers.kafka_publisher import KafkaPublisher
from producers.topics import ensure_topics, job_topic
from runtime.settings import KafkaSettings
from schemas.records import OutRecord

SECONDS = 6.0
WARM_S = 1.0
FETCHED_AT_MOST = 500
FIRST_WITHIN_S = 60.0
FED_AT_MOST_S = 600.0
TOPIC = "clients"
VALUE = b"x" * 400
HEADERS = [(name, b"0123456789abcdef") for name in ("ce_id", "ce_type", "ce_source", "ce_time")]


class Load(NamedTuple):
    group: int
    per_s: int  # groups


LOADS = (Load(1, 300), Load(32, 100))

Publish = Callable[[int], Work]
Received = Callable[[list[bytes]], None]
Publishing = Callable[[str], AbstractAsyncContextManager[Publish]]
Fetching = Callable[[str, Received], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def our_publisher(bootstrap_servers: str) -> AsyncIterator[Publish]:
    async with KafkaPublisher(KafkaSettings(kafka_bootstrap_servers=bootstrap_servers)) as publisher:

        def work(group: int) -> Work:
            async def one() -> None:
                record = OutRecord(TOPIC, None, VALUE, HEADERS, partition=0)
                assert await publisher.publish_all([record] * group) == [None] * group

            return one

        yield work


class Librdkafka:
    """A thread serves the delivery reports, and wakes the loop once for all that came together."""

    def __init__(self, bootstrap_servers: str) -> None:
        from confluent_kafka import Producer  # noqa: PLC0415 - it may be missing

        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 0})
        self._loop = asyncio.get_running_loop()
        self._settled: list[tuple[asyncio.Future[None], Any]] = []  # the thread's own
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._producer.flush(5)

    def work(self, group: int) -> Work:
        async def one() -> None:
            future: asyncio.Future[None] = self._loop.create_future()
            left = group

            def report(error: Any, _: Any) -> None:
                nonlocal left
                left -= 1
                if error is not None or left == 0:
                    self._settled.append((future, error))

            for _ in range(group):
                self._producer.produce(TOPIC, VALUE, headers=list(HEADERS), partition=0, on_delivery=report)
            await future

        return one

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)
            if self._settled:
                self._loop.call_soon_threadsafe(self._settle, self._settled)
                self._settled = []

    @staticmethod
    def _settle(those: list[tuple[asyncio.Future[None], Any]]) -> None:
        for future, error in those:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(RuntimeError(str(error)))


@asynccontextmanager
async def librdkafka_publisher(bootstrap_servers: str) -> AsyncIterator[Publish]:
    client = Librdkafka(bootstrap_servers)
    try:
        yield client.work
    finally:
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def aiokafka_fetching(bootstrap_servers: str, received: Received) -> AsyncIterator[None]:
    async with AIOKafkaConsumer(TOPIC, bootstrap_servers=bootstrap_servers) as consumer:

        async def fetch() -> None:
            while True:
                fetched = await consumer.getmany(timeout_ms=1000, max_records=FETCHED_AT_MOST)
                received([record.value for records in fetched.values() for record in records if record.headers])

        fetching = asyncio.create_task(fetch())
        try:
            yield
        finally:
            fetching.cancel()
            await asyncio.wait([fetching])


@asynccontextmanager
async def librdkafka_fetching(bootstrap_servers: str, received: Received) -> AsyncIterator[None]:
    """A thread fetches, and gives the loop what came together."""
    from confluent_kafka import OFFSET_END, Consumer, TopicPartition  # noqa: PLC0415 - it may be missing

    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": TOPIC, "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, 0, OFFSET_END)])  # without it the group's is asked for, which takes seconds
    loop = asyncio.get_running_loop()
    stopping = threading.Event()

    def fetch() -> None:
        while not stopping.is_set():
            # `consume` returns once it is full or its time is up: so first one, and then what lies there.
            first = consumer.poll(0.1)
            if first is not None:
                records = [first, *consumer.consume(FETCHED_AT_MOST, timeout=0)]
                values = [record.value() or b"" for record in records if record.error() is None and record.headers()]
                loop.call_soon_threadsafe(received, values)

    fetching = threading.Thread(target=fetch)
    fetching.start()
    try:
        yield
    finally:
        stopping.set()
        await asyncio.to_thread(fetching.join)
        consumer.close()


PUBLISHERS = {
    "aiokafka, in our publisher": our_publisher,
    "librdkafka, a thread for its reports": librdkafka_publisher,
}
FETCHING = {"aiokafka, `getmany`": aiokafka_fetching, "librdkafka, in a thread": librdkafka_fetching}


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    if util.find_spec("confluent_kafka") is None:
        sys.stderr.write("clients: the package confluent-kafka is not installed, so there is nothing to compare\n")
        return []
    seconds = SECONDS / shorten
    async with services(frozenset([Service.KAFKA]), shorten=shorten) as stack:
        address = stack.kafka_bootstrap_servers
        settings = KafkaSettings(kafka_bootstrap_servers=address)
        await ensure_topics(settings, [job_topic(settings, TOPIC, 1)])
        published = [
            [name, *await _columns(partial(_published, address, each, seconds), rounds)]
            for name, each in PUBLISHERS.items()
            if models.wants(name)
        ]
        fetched = [
            [name, *await _columns(partial(_fetched, address, each, seconds), rounds)]
            for name, each in FETCHING.items()
            if models.wants(name)
        ]
    return [
        _table("Publishing: processor time a record, and time to the acknowledgement", published),
        _table("Fetching: processor time a record, and time from its sending", fetched),
    ]


def _table(title: str, rows: list[list[str]]) -> Table:
    loads = [f"{what}, groups of {load.group}" for load in LOADS for what in ("µs a record", "p50, ms", "p99, ms")]
    return Table(title, ["client", *loads], rows)


async def _columns(one: Callable[[Load], Awaitable[Sequence[float]]], rounds: int) -> list[str]:
    """Of each load: µs a record, p50 and p99 in ms."""
    columns: list[str] = []
    for load in LOADS:
        measured = [await one(load) for _ in range(rounds)]
        columns += [str(Rounds(list(values))) for values in zip(*measured, strict=True)]
    return columns


async def _published(address: str, opened: Publishing, seconds: float, load: Load) -> Sequence[float]:
    async def nothing() -> None:
        await asyncio.sleep(0)

    pacing_s, _ = await _used_s(load, seconds, nothing)
    async with opened(address) as work:
        await paced(load.per_s, min(WARM_S, seconds), work(load.group))  # connections, and code that is warm
        used_s, took = await _used_s(load, seconds, work(load.group))
    return (used_s - pacing_s) / (len(took) * load.group) * 1e6, percentile_ms(took, 50), percentile_ms(took, 99)


async def _used_s(load: Load, seconds: float, one: Work) -> tuple[float, list[float]]:
    """Seconds of processor time of all threads of this process, and the seconds that each group took."""
    before_s = time.process_time()
    took = await paced(load.per_s, seconds, one)
    return time.process_time() - before_s, took


async def _fetched(address: str, opened: Fetching, seconds: float, load: Load) -> Sequence[float]:
    took: list[float] = []
    warm = asyncio.Event()

    def received(values: list[bytes]) -> None:
        now = time.time()
        took.extend(now - float(value.rstrip(b"x")) for value in values)
        if len(took) > load.group * load.per_s:  # about a second's
            warm.set()

    feeding = ["-m", "benchmarks.clients", address, str(load.group), str(load.per_s)]
    async with opened(address, received), program(feeding):
        async with asyncio.timeout(FIRST_WITHIN_S):
            await warm.wait()
        took.clear()
        before_s = time.process_time()
        await asyncio.sleep(seconds)
        used_s = time.process_time() - before_s
        return used_s / len(took) * 1e6, percentile_ms(took, 50), percentile_ms(took, 99)


async def feed(address: str, load: Load) -> None:
    """Send records that say when they were sent, until we are stopped."""
    async with KafkaPublisher(KafkaSettings(kafka_bootstrap_servers=address)) as publisher:

        async def one() -> None:
            value = str(time.time()).encode().ljust(len(VALUE), b"x")
            await publisher.publish_all([OutRecord(TOPIC, None, value, HEADERS, partition=0)] * load.group)

        await paced(load.per_s, FED_AT_MOST_S, one)


if __name__ == "__main__":
    uvloop.run(feed(sys.argv[1], Load(int(sys.argv[2]), int(sys.argv[3]))))
