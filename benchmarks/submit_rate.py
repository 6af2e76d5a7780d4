"""Durable submits a second: of one gateway process beside a FastAPI route that only validates the same body, and of two
beside one.

Every counted submit was acknowledged by Kafka and has its row in Postgres; both are counted afterwards.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
import orjson
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.digits_peers import used
from benchmarks.figures import Rounds, Table, amount, ratio
from benchmarks.gateway import gateways, prepare
from benchmarks.load import Outcome, Target, Way
from benchmarks.models import Models
from benchmarks.processes import program, until_ready
from benchmarks.services import services
from benchmarks.worker_runs import PARTITIONS
from benchmarks.workload import as_json, digits
from penstock.embedded.stack import EmbeddedStack
from runtime.settings import KafkaSettings
from schemas.topics import Lane, LaneClass

CONNECTIONS = 64
SECONDS = 8.0
WARM_S = 2.0
PREFIX = "submit"
PATH = "/v1/jobs"


class Run(NamedTuple):
    """One round. `had` is the processor time a second that was left by the load generator; `cpu_us` is a submit's."""

    per_s: float
    had_cores: float
    cpu_us: Mapping[str, float]

    @classmethod
    def of(cls, outcome: Outcome, cpu_s: Mapping[str, float]) -> "Run":
        return cls(
            len(outcome.took_s) / outcome.seconds,
            (psutil.cpu_count() or 1) - outcome.cpu_s / outcome.seconds,
            outcome.each_us({**cpu_s, "client": outcome.cpu_s}),
        )

    @property
    def per_core_s(self) -> float:
        """Submits for each second of processor time that everything but the load generator could have."""
        return self.per_s / self.had_cores


def job() -> str:
    """A real digit as FP32 JSON."""
    return orjson.dumps({"model": "digits", "input": orjson.Fragment(as_json(digits(1)).value)}).decode()


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    seconds = SECONDS / shorten
    bare: list[Run] = []
    ours: dict[int, list[Run]] = {1: [], 2: []}
    async with services(shorten=shorten) as stack:
        settings = await prepare(stack, models, PREFIX)
        for _ in range(rounds):
            async with bare_route(models) as target:
                bare.append(await one_run(target, seconds))
            for count, runs in ours.items():
                async with gateways(stack, models, PREFIX, count) as (running, port):
                    roles = {f"gateway {number + 1}": each.pid for number, each in enumerate(running)}
                    cpu_s = used({**roles, "Kafka": stack.kafka.pid, "Postgres": stack.postgres.pid})
                    runs.append(await one_run(Target(port, PATH, job(), cpu_s), seconds))
                await _check(stack, settings)
    return _tables(bare, ours)


async def one_run(target: Target, seconds: float) -> Run:
    await target.under(Way.SUBMIT, min(WARM_S, seconds), connections=CONNECTIONS)
    return Run.of(*await target.under(Way.SUBMIT, seconds, connections=CONNECTIONS))


@asynccontextmanager
async def bare_route(models: Models) -> AsyncIterator[Target]:
    port = models.free_port()
    async with program(["-m", "benchmarks.bare_fastapi", str(port)]) as running:
        await until_ready(f"http://127.0.0.1:{port}/readyz", running)
        yield Target(port, PATH, job(), used({"gateway 1": running.pid}))


async def _check(stack: EmbeddedStack, settings: KafkaSettings) -> None:
    """As many rows as records, and none of them lost."""
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        rows = await connection.fetchval("SELECT count(*) FROM jobs WHERE model = 'digits'")
    finally:
        await connection.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers)
    await consumer.start()
    try:
        topic = settings.topics.lane(Lane("digits", "2", LaneClass.LIVE))
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
    finally:
        await consumer.stop()
    if rows != sum(ends.values()):
        raise RuntimeError(f"{rows} rows in Postgres, {sum(ends.values())} records in Kafka")


def _tables(bare: list[Run], ours: Mapping[int, list[Run]]) -> list[Table]:
    one, two = (Rounds([run.per_s for run in runs]) for runs in ours.values())
    raw = Rounds([run.per_s for run in bare])
    left_one, left_two = (Rounds([run.per_core_s for run in runs]) for runs in ours.values())
    parts = ("gateway 1", "gateway 2", "Kafka", "Postgres", "client")
    named = {"bare FastAPI": bare, **{f"{count} gateway{'s'[: count - 1]}": runs for count, runs in ours.items()}}
    return [
        Table(
            "Gateway: durable submits a second, beside a bare FastAPI route that validates the same body",
            [
                "gateway (Kafka acknowledged, row in Postgres), submits/s",
                "bare FastAPI, requests/s",
                "ratio (goal 1.3)",
            ],
            [[str(one), str(raw), ratio(one, raw)]],
        ),
        Table(
            "Gateway: two processes on one port, beside one",
            ["", "one", "two", "ratio (goal 1.8)"],
            [
                ["submits/s", str(one), str(two), ratio(two, one)],
                [
                    "submits for a second of processor time that is left by the load",
                    str(left_one),
                    str(left_two),
                    ratio(left_two, left_one),
                ],
            ],
        ),
        Table(
            "Gateway: processor time a submit, in microseconds",
            ["", *parts, "cores busy"],
            [[name, *(_cpu(runs, part) for part in parts), _busy(runs)] for name, runs in named.items()],
        ),
    ]


def _cpu(runs: list[Run], part: str) -> str:
    values = [run.cpu_us[part] for run in runs if part in run.cpu_us]
    return amount(Rounds(values).median) if values else ""


def _busy(runs: list[Run]) -> str:
    """What all of them take together."""
    return amount(Rounds([sum(run.cpu_us.values()) * run.per_s / 1e6 for run in runs]).median)
