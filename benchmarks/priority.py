"""How long live jobs take while a bulk backlog is worked off, beside a worker that has nothing else to do; and what
they take from the bulk jobs.
"""

import asyncio
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.figures import Rounds, Table, ratio
from benchmarks.latency import percentile_ms
from benchmarks.models import Models
from benchmarks.services import OF_WORKERS, services
from benchmarks.simulated import LANE, MODEL, TRUST, VERSION, payloads, write_simulated
from benchmarks.worker_runs import PARTITIONS, publish, topics_for, worker
from benchmarks.workload import lane_records
from penstock.embedded.stack import EmbeddedStack
from producers.kafka_publisher import KafkaPublisher
from runtime.settings import KafkaSettings
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass

BULK: Final = Lane(MODEL, VERSION, LaneClass.BULK)
BATCH_ROWS: Final = 16
RUN_S: Final = 0.05
# Each takes a run, which is a twentieth of a second: half of what the device can do, and a tenth of it.
LIVE_PER_S: Final = (10, 2)
SECONDS: Final = 20.0


class Case(NamedTuple):
    """What comes beside each other."""

    live_per_s: int
    backlog: bool


BULK_ALONE: Final = Case(0, backlog=True)


class Seen(NamedTuple):
    """Of one round: seconds from a live job's being due to its result, and results of bulk jobs a second."""

    live_s: list[float]
    bulk_per_s: float


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    seconds = SECONDS / shorten
    rates = [per_s for per_s in LIVE_PER_S if models.wants(str(per_s))]
    cases = (BULK_ALONE, *(Case(per_s, backlog) for per_s in rates for backlog in (False, True)))
    seen: dict[Case, list[Seen]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        write_simulated(Path(folder), {"fixed_s": RUN_S}, BATCH_ROWS, adaptive=False)
        async with services(OF_WORKERS, shorten=shorten) as stack:
            for round_ in range(rounds):
                for number, case in enumerate(cases):
                    seen[case].append(await _one(stack, Path(folder), f"priority-{round_}-{number}", case, seconds))
    return _tables(rates, seen)


def _tables(rates: list[int], seen: dict[Case, list[Seen]]) -> list[Table]:
    alone = Rounds([each.bulk_per_s for each in seen[BULK_ALONE]])
    live_rows, bulk_rows = [], []
    for per_s in rates:
        idle, busy = seen[Case(per_s, backlog=False)], seen[Case(per_s, backlog=True)]
        idle_p50, idle_p99 = _percentile_ms(idle, 50), _percentile_ms(idle, 99)
        p50, p99 = _percentile_ms(busy, 50), _percentile_ms(busy, 99)
        live_rows.append([str(per_s), str(idle_p50), str(idle_p99), str(p50), str(p99), ratio(p99, idle_p99)])
        beside = Rounds([each.bulk_per_s for each in busy])
        left = 1 - per_s * RUN_S
        bulk_rows.append([str(per_s), str(alone), str(beside), ratio(beside, alone), f"{left:.2f}"])
    return [
        Table(
            f"Live jobs under a bulk backlog, in milliseconds; a micro-batch takes {RUN_S * 1000:.0f}",
            ["live jobs/s", "idle p50", "idle p99", "under bulk p50", "under bulk p99", "p99 over idle (goal 2)"],
            live_rows,
        ),
        Table(
            "Bulk jobs a second beside live ones",
            ["live jobs/s", "bulk alone", "beside live", "ratio (goal 0.9)", "share of runs that are no live job's"],
            bulk_rows,
        ),
    ]


def _percentile_ms(rounds: list[Seen], percent: int) -> Rounds:
    return Rounds([percentile_ms(each.live_s, percent) for each in rounds])


async def _one(stack: EmbeddedStack, repository: Path, prefix: str, case: Case, seconds: float) -> Seen:
    settings = await topics_for(stack, prefix, [LANE, BULK], PARTITIONS)
    async with AsyncExitStack() as open_:
        running = await open_.enter_async_context(worker(stack, prefix, repository, MODEL, TRUST))
        await running.ready()
        if case.backlog:
            jobs = int(2 * (seconds + 5) / RUN_S * BATCH_ROWS)
            await publish(settings, lane_records(settings.topics.lane(BULK), BULK, payloads([1.0] * jobs)))
        publisher = await open_.enter_async_context(KafkaPublisher(settings))
        return await Watch(settings).open_loop(publisher, case, seconds)


class Watch:
    """Reads the results topic from now on: those of live jobs by their keys, all others are of the backlog."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._due: dict[bytes, float] = {}
        self._live_s: list[float] = []
        self._bulk_at: list[float] = []
        self._all_ended = asyncio.Event()

    async def open_loop(self, publisher: KafkaPublisher, case: Case, seconds: float) -> Seen:
        """Live jobs at a steady rate, each at its time, and for as long whatever the backlog yields."""
        live = lane_records(
            self._settings.topics.lane(LANE), LANE, payloads([1.0] * max(2, int(seconds * case.live_per_s)))
        )
        async with asyncio.timeout(seconds * 3 + 30), AsyncExitStack() as open_:
            consumer = await self._consumer(open_)
            collecting = asyncio.create_task(self._collect(consumer))
            open_.callback(collecting.cancel)
            begin = time.perf_counter()
            if case.live_per_s:
                await self._send(publisher, live, begin, case.live_per_s)
            else:
                self._all_ended.set()
            await asyncio.sleep(max(0.0, begin + seconds - time.perf_counter()))
            await self._all_ended.wait()
        bulk = sum(begin <= at < begin + seconds for at in self._bulk_at)
        return Seen(self._live_s, bulk / seconds)

    async def _consumer(self, open_: AsyncExitStack) -> AIOKafkaConsumer:
        address = self._settings.kafka_bootstrap_servers
        consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="latest")
        await consumer.start()
        open_.push_async_callback(consumer.stop)
        partitions = [TopicPartition(self._settings.topics.results, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        for partition in partitions:  # from now on, before the first is sent
            await consumer.position(partition)
        return consumer

    async def _send(self, publisher: KafkaPublisher, live: list[OutRecord], begin: float, per_s: float) -> None:
        """Each when it is due, whatever became of those before."""
        self._due = {record.key or b"": begin + number / per_s for number, record in enumerate(live)}
        async with asyncio.TaskGroup() as group:
            for record in live:
                await asyncio.sleep(max(0.0, self._due[record.key or b""] - time.perf_counter()))
                group.create_task(publisher.publish(record))

    async def _collect(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            due = self._due.get(record.key)
            if due is None:
                self._bulk_at.append(time.perf_counter())
                continue
            self._live_s.append(time.perf_counter() - due)
            if len(self._live_s) == len(self._due):
                self._all_ended.set()
