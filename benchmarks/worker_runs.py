"""A lane filled beforehand, workers that empty it, and the rate at which results come."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.http import get
from benchmarks.models import Models
from benchmarks.processes import Program, program, until_ready
from benchmarks.workload import Workload
from penstock.embedded.stack import EmbeddedStack
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from runtime.settings import KafkaSettings
from schemas.jobs import Terminal
from schemas.records import OutRecord, read_terminal_record
from schemas.topics import Lane

PARTITIONS = 4
WARM_SHARE = 0.1  # of the records pass before the clock starts
POLL_S = 0.02
GIVE_UP_S = 300.0
PREFILL_RECORDS = 2000


class Rate(NamedTuple):
    """Of the measured part: jobs a second, and seconds of all the workers' processor time a job."""

    jobs_per_s: float
    cpu_s_per_job: float


async def topics_for(stack: EmbeddedStack, prefix: str, lanes: Sequence[Lane], partitions: int) -> KafkaSettings:
    """A fresh installation's topics with these lanes."""
    settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=prefix)
    await ensure_topics(settings, [*base_topics(settings, partitions), *lane_topics(settings, lanes, partitions)])
    return settings


async def prefill(stack: EmbeddedStack, prefix: str, workload: Workload, partitions: int = PARTITIONS) -> KafkaSettings:
    """A fresh set of topics with the workload waiting in its live lane."""
    settings = await topics_for(stack, prefix, [workload.lane], partitions)
    await publish(settings, workload.lane_records(settings.topics.lane(workload.lane)))
    return settings


async def publish(settings: KafkaSettings, records: Sequence[OutRecord]) -> None:
    async with KafkaPublisher(settings) as publisher:
        for start in range(0, len(records), PREFILL_RECORDS):
            outcomes = await publisher.publish_all(records[start : start + PREFILL_RECORDS])
            assert not any(outcomes)


class Worker(NamedTuple):
    running: Program
    health_url: str

    async def ready(self) -> None:
        await until_ready(f"{self.health_url}/readyz", self.running)

    async def metrics(self) -> list[tuple[str, Mapping[str, str], float]]:
        """Name, labels and value of every sample."""
        page = (await get(f"{self.health_url}/metrics")).body.decode()
        return [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        ]


@asynccontextmanager
async def worker(
    stack: EmbeddedStack,
    prefix: str,
    repository: Path,
    models: str,
    more: Mapping[str, str] | None = None,
    partitions: int = PARTITIONS,
) -> AsyncIterator[Worker]:
    """A worker process over the model versions that the pattern `models` names. It may not be ready yet."""
    port = Models.free_port()
    environment = {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "PENSTOCK_REDIS_URL": stack.redis_url,
        "PENSTOCK_TOPIC_PREFIX": prefix,
        "PENSTOCK_MODEL_REPOSITORY": str(repository),
        "PENSTOCK_WORKER_MODELS": models,
        "PENSTOCK_LANE_PARTITIONS": str(partitions),
        "PENSTOCK_HEALTH_HOST": "127.0.0.1",
        "PENSTOCK_HEALTH_PORT": str(port),
        "PENSTOCK_LOG_LEVEL": "error",
        **(more or {}),
    }
    async with program(["-m", "penstock", "worker"], environment) as running:
        yield Worker(running, f"http://127.0.0.1:{port}")


async def watch(
    settings: KafkaSettings,
    jobs: int,
    running: Sequence[Program],
    partitions: int = PARTITIONS,
    *,
    end_share: float = 1.0,
) -> Rate:
    """The rate from the first tenth of the results to the last of `jobs`, or to `end_share` of them: several workers
    do not end at the same moment."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await consumer.start()
    results = [TopicPartition(settings.topics.results, number) for number in range(partitions)]
    try:
        seen = 0
        while seen < jobs * WARM_SHARE:
            seen = await _count(consumer, results, running)
        first, started, cpu_s = seen, time.perf_counter(), _cpu_s(running)
        while seen < jobs * end_share and time.perf_counter() - started < GIVE_UP_S:
            seen = await _count(consumer, results, running)
        measured = seen - first
        if measured <= 0 or seen < jobs * end_share:
            raise RuntimeError(f"measured {measured} jobs, {seen} of {jobs} results: too few or too slow")
        return Rate(measured / (time.perf_counter() - started), (_cpu_s(running) - cpu_s) / measured)
    finally:
        await consumer.stop()


async def count_results(settings: KafkaSettings, partitions: int = PARTITIONS) -> int:
    """How many records the results topic holds."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await consumer.start()
    try:
        return await _count(consumer, [TopicPartition(settings.topics.results, each) for each in range(partitions)], ())
    finally:
        await consumer.stop()


async def results_of(
    settings: KafkaSettings, jobs: int, running: Sequence[Program], partitions: int = PARTITIONS
) -> list[Terminal]:
    """The first `jobs` terminal records of the results topic, as they come."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(settings.topics.results, number) for number in range(partitions)])
    ends: list[Terminal] = []
    try:
        async with asyncio.timeout(GIVE_UP_S):
            while len(ends) < jobs:
                _check(running)
                fetched = await consumer.getmany(timeout_ms=int(POLL_S * 1000))
                records = [record for batch in fetched.values() for record in batch]
                ends += [read_terminal_record(tuple(record.headers), record.value) for record in records]
        return ends
    finally:
        await consumer.stop()


def _check(running: Sequence[Program]) -> None:
    if not all(each.running for each in running):
        raise RuntimeError("a measured program has ended")


def _cpu_s(running: Sequence[Program]) -> float:
    return sum(each.cpu_s() for each in running)


async def _count(consumer: AIOKafkaConsumer, results: list[TopicPartition], running: Sequence[Program]) -> int:
    _check(running)
    await asyncio.sleep(POLL_S)
    return sum((await consumer.end_offsets(results)).values())
