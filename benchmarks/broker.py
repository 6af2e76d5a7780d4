"""The broker of the embedded stack: what its VM's compilers and collectors cost a record, and how soon it answers.

Records are published one by one, open loop, and fetched beside it; the broker's processor time covers both. Each
broker starts twice: the first start leaves the archive of its classes, the second is measured.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import psutil
from aiokafka import AIOKafkaConsumer

from benchmarks.figures import Rounds, Table
from benchmarks.latency import percentile_ms
from benchmarks.models import Models
from benchmarks.pacing import paced
from benchmarks.services import data_folder
from penstock.embedded.elsewhere import Service
from penstock.embedded.kafka import BOTH_COMPILERS, FIRST_COMPILER
from penstock.embedded.stack import EmbeddedStack
from producers.kafka_publisher import KafkaPublisher
from producers.topics import ensure_topics, job_topic
from runtime.settings import KafkaSettings
from schemas.records import OutRecord

RATES_PER_S = (100, 500, 1000)
SECONDS = 6.0
# Both compilers need time, and processor time, before they pay.
WARM_S = 30.0
WARM_PER_S = 1000
TOPIC = "broker"
PARTITIONS = 2
VALUE = b"x" * 400

MACHINES: Mapping[str, Sequence[str]] = {
    "first compiler, serial collector": FIRST_COMPILER,
    "both compilers, serial collector": BOTH_COMPILERS,
    "both compilers, G1": (*BOTH_COMPILERS, "-XX:-UseSerialGC", "-XX:+UseG1GC"),
}


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    seconds, warm_s = SECONDS / shorten, WARM_S / shorten
    found: dict[str, list[list[float]]] = {name: [] for name in models.only([*MACHINES])}
    for _round in range(rounds):
        for name, measured in found.items():
            measured.append(await _one(MACHINES[name], warm_s, seconds))
    columns = [
        f"{what} at {rate}/s" for rate in RATES_PER_S for what in ("p50, ms", "p99, ms", "processor µs a record")
    ]
    rows = [[name, *(str(Rounds(list(values))) for values in zip(*each, strict=True))] for name, each in found.items()]
    title = "The broker's VM: publish to acknowledged, and its processor time"
    return [Table(title, ["VM", "start, s", "idle, % of a core", *columns], rows)]


async def _one(compilers: Sequence[str], warm_s: float, seconds: float) -> list[float]:
    """The columns of one row."""
    with data_folder() as data:
        for again in (False, True):
            stack = EmbeddedStack(data, services=frozenset([Service.KAFKA]), kafka_compilers=compilers)
            began = time.perf_counter()
            async with stack:
                if again:
                    return [time.perf_counter() - began, *await _load(stack, warm_s, seconds)]
    raise AssertionError("it was started twice")


async def _load(stack: EmbeddedStack, warm_s: float, seconds: float) -> list[float]:
    settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers)
    await ensure_topics(settings, [job_topic(settings, TOPIC, PARTITIONS)])
    broker = psutil.Process(stack.kafka.pid)

    def used_s() -> float:
        times = broker.cpu_times()
        return float(times.user + times.system)

    async with KafkaPublisher(settings) as publisher, _reading(settings):

        async def one() -> None:
            await publisher.publish(OutRecord(TOPIC, None, VALUE, [], partition=0))

        await paced(WARM_PER_S, warm_s, one)
        before_s = used_s()
        await asyncio.sleep(seconds)
        columns = [(used_s() - before_s) / seconds * 100]
        for rate in RATES_PER_S:
            before_s = used_s()
            took = await paced(rate, seconds, one)
            columns += [percentile_ms(took, 50), percentile_ms(took, 99), (used_s() - before_s) / len(took) * 1e6]
    return columns


@asynccontextmanager
async def _reading(settings: KafkaSettings) -> AsyncIterator[None]:
    """Somebody fetches all records while the block lasts."""
    consumer = AIOKafkaConsumer(TOPIC, **settings.client_options(), enable_auto_commit=False)
    await consumer.start()

    async def read() -> None:
        while True:
            await consumer.getmany(timeout_ms=1000)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
        await consumer.stop()
