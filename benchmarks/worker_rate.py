"""Rows a second of a worker, end to end through Kafka: beside the model alone, and beside the loop everybody writes."""

import asyncio
import time
from collections.abc import Mapping

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.figures import Rounds, Table, amount, ratio
from benchmarks.http import get
from benchmarks.models import Models
from benchmarks.processes import Program, program, until_ready
from benchmarks.services import services
from benchmarks.workload import WORKLOADS, Workload
from penstock.embedded.stack import EmbeddedStack
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from runtime.settings import KafkaSettings
from schemas.topics import Lane, LaneClass

PARTITIONS = 4
WARM_SHARE = 0.1  # of the records pass before the clock starts
POLL_S = 0.02
GIVE_UP_S = 300.0
PREFILL_RECORDS = 2000
NAIVE_WORKLOAD = "digits, linear, a row a job"
COORDINATOR_LINGER = "group.coordinator.append.linger.ms"


class Run(msgspec.Struct, frozen=True):
    """One measured run. `cpu_s` is the processor time of the measured part, `stage_s` the worker's own account."""

    rows_per_s: float
    cpu_us_per_job: float
    stage_us_per_job: Mapping[str, float]


async def prefill(stack: EmbeddedStack, prefix: str, workload: Workload) -> KafkaSettings:
    """A fresh set of topics with the workload waiting in its lane."""
    settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=prefix)
    lane = Lane(workload.model, workload.version, LaneClass.LIVE)
    await ensure_topics(settings, [*base_topics(settings, PARTITIONS), *lane_topics(settings, [lane], PARTITIONS)])
    records = workload.lane_records(settings.topics.lane(lane))
    async with KafkaPublisher(settings) as publisher:
        for start in range(0, len(records), PREFILL_RECORDS):
            outcomes = await publisher.publish_all(records[start : start + PREFILL_RECORDS])
            assert not any(outcomes)
    return settings


async def watch(settings: KafkaSettings, workload: Workload, running: Program) -> tuple[float, float]:
    """Rows a second, and processor seconds a job, from the first tenth of the results to the last."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topics.results, number) for number in range(PARTITIONS)]
        seen = 0
        while seen < workload.records * WARM_SHARE:
            seen = await _count(consumer, partitions, running)
        first, started, cpu_s = seen, time.perf_counter(), running.cpu_s()
        while seen < workload.records and time.perf_counter() - started < GIVE_UP_S:
            seen = await _count(consumer, partitions, running)
        jobs = workload.records - first
        if jobs <= 0 or seen < workload.records:
            raise RuntimeError(f"measured {jobs} jobs, {seen} of {workload.records} results: too few or too slow")
        rate = jobs * workload.rows_per_record / (time.perf_counter() - started)
        return rate, (running.cpu_s() - cpu_s) / jobs
    finally:
        await consumer.stop()


async def _count(consumer: AIOKafkaConsumer, partitions: list[TopicPartition], running: Program) -> int:
    if not running.running:
        raise RuntimeError("the measured program has ended")
    await asyncio.sleep(POLL_S)
    return sum((await consumer.end_offsets(partitions)).values())


async def ours(stack: EmbeddedStack, models: Models, prefix: str, workload: Workload) -> Run:
    settings = await prefill(stack, prefix, workload)
    port = models.free_port()
    environment = {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "PENSTOCK_REDIS_URL": stack.redis_url,
        "PENSTOCK_TOPIC_PREFIX": prefix,
        "PENSTOCK_MODEL_REPOSITORY": str(models.repository_of(workload.model)),
        "PENSTOCK_WORKER_MODELS": f"{workload.model}/{workload.version}",
        "PENSTOCK_LANE_PARTITIONS": str(PARTITIONS),
        "PENSTOCK_HEALTH_HOST": "127.0.0.1",
        "PENSTOCK_HEALTH_PORT": str(port),
        "PENSTOCK_LOG_LEVEL": "warning",
    }
    async with program(["-m", "penstock", "worker"], environment) as worker:
        rate, cpu_s = await watch(settings, workload, worker)
        await until_ready(f"http://127.0.0.1:{port}/readyz", worker)
        stages = _stages((await get(f"http://127.0.0.1:{port}/metrics")).body.decode())
    stage_us = {stage: seconds / workload.records * 1e6 for stage, seconds in stages.items()}
    return Run(rate, cpu_s * 1e6, stage_us)


def _stages(page: str) -> dict[str, float]:
    """Seconds by stage, of the live lane."""
    return {
        sample.labels["stage"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "penstock_worker_stage_seconds_sum" and sample.labels["lane"] == "live"
    }


async def naive(stack: EmbeddedStack, models: Models, prefix: str, workload: Workload) -> Run:
    settings = await prefill(stack, prefix, workload)
    lane = Lane(workload.model, workload.version, LaneClass.LIVE)
    arguments = [
        "-m",
        "benchmarks.naive_loop",
        stack.kafka_bootstrap_servers,
        settings.topics.lane(lane),
        settings.topics.results,
        f"{prefix}.naive",
        str(models.repository_of(workload.model) / workload.model / workload.version / "model.onnx"),
    ]
    async with program(arguments) as loop:
        rate, cpu_s = await watch(settings, workload, loop)
    return Run(rate, cpu_s * 1e6, {})


async def alone(models: Models, name: str, workload: Workload, shorten: int) -> float:
    arguments = [
        "-m",
        "benchmarks.model_alone",
        str(models.repository_of(workload.model)),
        f"{workload.model}/{workload.version}",
        name,
        str(shorten),
    ]
    async with program(arguments) as running:
        return float(await running.output())


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    """All tables of the worker."""
    model_rows: list[list[str]] = []
    naive_rows: list[list[str]] = []
    stage_rows: list[list[str]] = []
    for linger_ms in (5, 0):
        async with services({COORDINATOR_LINGER: str(linger_ms)}) as stack:
            naive_rows.append(await _beside_naive(stack, models, linger_ms, rounds, shorten))
            if linger_ms == 0:
                continue
            for name in models.workloads():
                row, stages = await _beside_alone(stack, models, name, rounds, shorten)
                model_rows.append(row)
                stage_rows.append(stages)
    return [
        Table(
            "Worker: rows a second through Kafka, beside the model alone at the same batch size",
            ["workload", "worker, rows/s", "model alone, rows/s", "ratio"],
            model_rows,
        ),
        Table(
            "Worker: single-row jobs a second, beside the loop everybody writes (same model, same records)",
            [f"broker's {COORDINATOR_LINGER}", "worker, jobs/s", "naive loop, jobs/s", "ratio"],
            naive_rows,
        ),
        Table(
            "Worker: where a job's time goes, in microseconds a job",
            ["workload", "decode", "collate", "infer", "encode", "publish (waiting)", "processor time in all"],
            stage_rows,
        ),
    ]


async def _beside_naive(stack: EmbeddedStack, models: Models, linger_ms: int, rounds: int, shorten: int) -> list[str]:
    workload = WORKLOADS[NAIVE_WORKLOAD].shortened(shorten)
    mine: list[float] = []
    theirs: list[float] = []
    for round_ in range(rounds):
        mine.append((await ours(stack, models, f"ours-{linger_ms}-{round_}", workload)).rows_per_s)
        theirs.append((await naive(stack, models, f"naive-{linger_ms}-{round_}", workload)).rows_per_s)
    return [str(linger_ms), str(Rounds(mine)), str(Rounds(theirs)), ratio(Rounds(mine), Rounds(theirs))]


async def _beside_alone(
    stack: EmbeddedStack, models: Models, name: str, rounds: int, shorten: int
) -> tuple[list[str], list[str]]:
    workload = WORKLOADS[name].shortened(shorten)
    runs: list[Run] = []
    bare: list[float] = []
    for round_ in range(rounds):
        prefix = f"w{list(WORKLOADS).index(name)}-{round_}"
        runs.append(await ours(stack, models, prefix, workload))
        bare.append(await alone(models, name, workload, shorten))
    mine, theirs = Rounds([run.rows_per_s for run in runs]), Rounds(bare)
    stages = [
        amount(Rounds([run.stage_us_per_job[stage] for run in runs]).median)
        for stage in ("decode", "collate", "infer", "encode", "publish")
    ]
    cpu = amount(Rounds([run.cpu_us_per_job for run in runs]).median)
    return [name, str(mine), str(theirs), ratio(mine, theirs)], [name, *stages, cpu]
