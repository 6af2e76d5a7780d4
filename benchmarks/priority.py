"""How long live jobs take while a bulk backlog is worked off, beside a worker that has nothing else to do."""

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.figures import Rounds, Table, amount
from benchmarks.models import Models
from benchmarks.services import services
from benchmarks.simulated import LANE, MODEL, TRUST, VERSION, payloads, write_simulated
from benchmarks.worker_runs import PARTITIONS, publish, topics_for, worker
from benchmarks.workload import lane_records
from penstock.embedded.stack import EmbeddedStack
from producers.kafka_publisher import KafkaPublisher
from runtime.settings import KafkaSettings
from schemas.topics import Lane, LaneClass

BULK: Final = Lane(MODEL, VERSION, LaneClass.BULK)
BATCH_ROWS: Final = 16
RUN_S: Final = 0.05
EVERY_S: Final = 0.1  # half of what the device can do
SECONDS: Final = 20.0


async def measure(_models: Models, rounds: int, shorten: int) -> list[Table]:
    seconds = SECONDS / shorten
    idle: list[float] = []
    busy: list[float] = []
    middle: dict[str, list[float]] = {"idle": [], "busy": []}
    with tempfile.TemporaryDirectory() as folder:
        write_simulated(Path(folder), {"fixed_s": RUN_S}, BATCH_ROWS, adaptive=False)
        async with services() as stack:
            for round_ in range(rounds):
                for backlog, p50, p99 in ((False, middle["idle"], idle), (True, middle["busy"], busy)):
                    took = await _live(stack, Path(folder), f"priority-{round_}-{backlog}".lower(), backlog, seconds)
                    p50.append(statistics.median(took) * 1000)
                    p99.append(statistics.quantiles(took, n=100, method="inclusive")[98] * 1000)
    allowed_ms = 2 * Rounds(idle).median + RUN_S * 1000
    return [
        Table(
            f"Live jobs under a bulk backlog, in milliseconds; a micro-batch takes {RUN_S * 1000:.0f}",
            ["", "p50", "p99", "twice idle and a micro-batch"],
            [
                ["idle", str(Rounds(middle["idle"])), str(Rounds(idle)), ""],
                ["under a bulk backlog", str(Rounds(middle["busy"])), str(Rounds(busy)), amount(allowed_ms)],
            ],
        )
    ]


async def _live(stack: EmbeddedStack, repository: Path, prefix: str, backlog: bool, seconds: float) -> list[float]:
    """Seconds from a live record's being due to its result, one record every `EVERY_S`, open loop."""
    settings = await topics_for(stack, prefix, [LANE, BULK], PARTITIONS)
    async with AsyncExitStack() as open_:
        running = await open_.enter_async_context(worker(stack, prefix, repository, MODEL, TRUST))
        await running.ready()
        if backlog:
            jobs = int(2 * (seconds + 5) / RUN_S * BATCH_ROWS)
            await publish(settings, lane_records(settings.topics.lane(BULK), BULK, payloads([1.0] * jobs)))
        publisher = await open_.enter_async_context(KafkaPublisher(settings))
        return await _open_loop(settings, publisher, seconds)


async def _open_loop(settings: KafkaSettings, publisher: KafkaPublisher, seconds: float) -> list[float]:
    records = lane_records(settings.topics.lane(LANE), LANE, payloads([1.0] * int(seconds / EVERY_S)))
    due: dict[bytes, float] = {}
    took: list[float] = []
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="latest")
    await consumer.start()
    partitions = [TopicPartition(settings.topics.results, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    for partition in partitions:  # from now on, before the first is sent
        await consumer.position(partition)

    async def collect() -> None:
        while len(took) < len(records):
            record = await consumer.getone()
            if record.key in due:
                took.append(time.perf_counter() - due[record.key])

    try:
        async with asyncio.timeout(seconds * 3 + 30), asyncio.TaskGroup() as group:
            group.create_task(collect())
            begin = time.perf_counter()
            for number, record in enumerate(records):
                due[record.key or b""] = at = begin + number * EVERY_S
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                group.create_task(publisher.publish(record))
    finally:
        await consumer.stop()
    return took
