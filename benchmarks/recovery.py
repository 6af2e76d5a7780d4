"""What those who wait see of a part that is killed (SIGKILL) and started again by its supervisor.

One whole stack, a steady rate of jobs, open loop: each comes at its time, and asks again under its key till it is done.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.figures import Rounds, Table
from benchmarks.http import Client
from benchmarks.models import Models
from benchmarks.services import data_folder
from benchmarks.submit_rate import job
from penstock.part import Part
from penstock.stack import Stack
from producers.kafka_publisher import KafkaPublisher
from runtime.settings import KafkaSettings
from schemas.records import OutRecord

JOBS_PER_S = 30
BEFORE_S, AFTER_S = 20.0, 20.0
LONG_WAIT_S = 5.0
PARTS = ("worker", "sink", "router", "gateway", "Kafka", "Postgres", "Valkey")
ASK_AGAIN_S = 0.05
PREFIX = "recovery"
PARTITIONS = 4
BODY = job().encode()


class Way(Protocol):
    """How jobs come in, and how their ends are seen."""

    async def job(self, number: int) -> None:
        """Returns when the job has succeeded."""


class Waiting:
    """Over HTTP, with `Prefer: wait`."""

    def __init__(self, url: str) -> None:
        self._client = Client("127.0.0.1", int(url.rpartition(":")[2]))
        self._name = uuid4().hex

    async def job(self, number: int) -> None:
        headers = {
            "Content-Type": "application/json",
            "Prefer": "wait=30",
            "Idempotency-Key": f"{self._name}-{number}",
        }
        while True:
            try:
                answer = await self._client.request("POST", "/v1/jobs", BODY, headers)
            except (OSError, EOFError):
                await asyncio.sleep(ASK_AGAIN_S)
                continue
            if answer.status == 200:
                succeeded(answer.body)
                return
            if answer.status not in (202, 409, 429, 503):
                raise RuntimeError(f"{answer.status}: {answer.body[:200]!r}")
            await asyncio.sleep(ASK_AGAIN_S)


class Direct:
    """Records to the requests topic, ends from the results topic."""

    def __init__(self, publisher: KafkaPublisher, settings: KafkaSettings) -> None:
        self._publisher = publisher
        self._topics = settings.topics
        self._name = uuid4().hex
        self._ended: dict[bytes, asyncio.Event] = {}

    async def job(self, number: int) -> None:
        job_id = f"{self._name}-{number}"
        ended = self._ended.setdefault(job_id.encode(), asyncio.Event())
        value = orjson.dumps(orjson.loads(BODY)["input"])
        headers = [("ce_id", job_id.encode()), ("model", b"digits")]
        record = OutRecord(self._topics.requests, job_id.encode(), value, headers)
        if any(outcomes := await self._publisher.publish_all([record])):
            raise RuntimeError(f"not written: {outcomes}")
        await ended.wait()

    async def follow(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            if (ended := self._ended.get(record.key)) is not None:
                ended.set()


def succeeded(answer: bytes) -> None:
    if (status := orjson.loads(answer)["status"]) != "succeeded":
        raise RuntimeError(f"the job ended as {status}")


@asynccontextmanager
async def directly(stack: Stack) -> AsyncIterator[Direct]:
    settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=PREFIX)
    consumer = AIOKafkaConsumer(**settings.consumer_options())
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topics.results, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        async with KafkaPublisher(settings) as publisher:
            way = Direct(publisher, settings)
            following = asyncio.create_task(way.follow(consumer))
            yield way
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        await consumer.stop()


class Seen:
    """When jobs were due and when they ended, in seconds since the part was killed."""

    def __init__(self, spans: list[tuple[float, float]], before_s: float, after_s: float) -> None:
        self._spans = spans
        self._before_s = before_s
        self._after_s = after_s

    @property
    def longest_gap_s(self) -> float:
        """The longest time without an ended job, from the death on."""
        ends = sorted(end for _, end in self._spans if end > 0)
        return max(later - earlier for earlier, later in zip([0.0, *ends], ends, strict=False))

    @property
    def waited_long(self) -> float:
        """Of those who waited after the death, the share that did for longer than `LONG_WAIT_S`."""
        waited = [end - due for due, end in self._spans if end > 0]
        return sum(took_s > LONG_WAIT_S for took_s in waited) / len(waited)

    @property
    def throughput(self) -> float:
        """Ended jobs a second after the death, over those before."""
        before = sum(-self._before_s < end <= 0 for _, end in self._spans) / self._before_s
        return sum(0 < end <= self._after_s for _, end in self._spans) / self._after_s / before


async def suffer(part: Part, way: Way, before_s: float, after_s: float) -> Seen:
    spans: list[tuple[float, float]] = []
    killed = time.perf_counter() + before_s
    begin = killed - before_s

    async def one(number: int, due: float) -> None:
        await way.job(number)
        spans.append((due - killed, time.perf_counter() - killed))

    async with asyncio.TaskGroup() as jobs:
        for number in range(int((before_s + after_s) * JOBS_PER_S)):
            due = begin + number / JOBS_PER_S
            if due - 1 / JOBS_PER_S < killed <= due:
                await asyncio.sleep(max(0.0, killed - time.perf_counter()))
                part.kill()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            jobs.create_task(one(number, due))
    return Seen(spans, before_s, after_s)


@asynccontextmanager
async def whole_stack(models: Models, shorten: int) -> AsyncIterator[Stack]:
    """As durable as in production, unless it is shortened: a throw-away one would not wait for the disk."""
    with data_folder() as folder:
        environ = os.environ | {
            "PENSTOCK_TOPIC_PREFIX": PREFIX,
            "PENSTOCK_TOPIC_PARTITIONS": str(PARTITIONS),
            "PENSTOCK_WORKER_MODELS": os.environ.get("PENSTOCK_WORKER_MODELS") or "digits/2",
            # An installation has its bytecode compiled; without it, torch alone takes four seconds to import.
            "PYTHONDONTWRITEBYTECODE": "",
        }
        path = folder if shorten == 1 else None
        async with Stack(path, models=models.repository_of("digits"), environ=environ) as stack:
            yield stack


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    before_s, after_s = max(2.0, BEFORE_S / shorten), max(4.0, AFTER_S / shorten)
    seen: dict[str, list[Seen]] = {name: [] for name in models.only(PARTS)}
    async with whole_stack(models, shorten) as stack:
        parts = {part.name: part for part in (*stack.services.parts, *stack.roles.values())}
        for _ in range(rounds):
            for name, rows in seen.items():
                if name == "router":
                    async with directly(stack) as direct:
                        rows.append(await suffer(parts[name], direct, before_s, after_s))
                else:
                    rows.append(await suffer(parts[name], Waiting(stack.gateway_url), before_s, after_s))
    return [
        Table(
            f"A part is killed under {JOBS_PER_S} jobs/s that wait, and started again by its supervisor",
            [
                "killed",
                "longest time without an ended job, s (goal 3)",
                f"share that waits over {LONG_WAIT_S:g} s (goal 0)",
                f"throughput in the {after_s:g} s after, over the {before_s:g} s before (goal 0.95)",
            ],
            [_row(name, rows) for name, rows in seen.items()],
        )
    ]


def _row(name: str, rows: list[Seen]) -> list[str]:
    return [
        name,
        str(Rounds([seen.longest_gap_s for seen in rows])),
        str(Rounds([seen.waited_long for seen in rows])),
        str(Rounds([seen.throughput for seen in rows])),
    ]
