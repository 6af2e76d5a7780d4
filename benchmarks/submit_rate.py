"""Durable submits a second, beside a FastAPI route that only validates the same body.

Load comes from `wrk` where it is installed, since a client in Python is the slower side: figures that are to be kept
need it, and without it the table says so. Every counted submit was acknowledged by Kafka and has its row in Postgres;
both are counted afterwards.
"""

import asyncio
import re
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.figures import Rounds, Table, ratio
from benchmarks.gateway import gateway, prepare
from benchmarks.http import Client
from benchmarks.models import Models
from benchmarks.processes import program, until_ready
from benchmarks.services import services
from benchmarks.worker_runs import PARTITIONS
from benchmarks.workload import as_json, digits
from penstock.embedded.stack import EmbeddedStack
from runtime.settings import KafkaSettings
from schemas.topics import Lane, LaneClass

CONNECTIONS = 64
SECONDS = 8
PREFIX = "submit"


def body() -> bytes:
    """One job: a real digit as FP32 JSON."""
    return orjson.dumps({"model": "digits", "input": orjson.Fragment(as_json(digits(1)).value)})


async def load(url: str, seconds: int) -> float:
    """Requests a second that were answered with 2xx."""
    return await (load_by_wrk if shutil.which("wrk") else load_by_python)(url, seconds)


async def load_by_python(url: str, seconds: int) -> float:
    parts = urlsplit(url)
    client = Client(parts.hostname or "localhost", parts.port or 80)
    headers = {"Content-Type": "application/json"}
    began = time.monotonic()
    done = 0

    async def one_after_another() -> None:
        nonlocal done
        while time.monotonic() - began < seconds:
            answer = await client.request("POST", parts.path, body(), headers)
            if answer.status // 100 != 2:
                raise RuntimeError(f"a request was refused: {answer.status} {answer.body.decode(errors='replace')}")
            done += 1

    await asyncio.gather(*(one_after_another() for _ in range(CONNECTIONS)))
    client.close()
    return done / (time.monotonic() - began)


async def load_by_wrk(url: str, seconds: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = [==[{body().decode()}]==]\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        process = await asyncio.create_subprocess_exec(
            *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url),
            stdout=asyncio.subprocess.PIPE,
        )
        output = (await process.communicate())[0].decode()
    rejected = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if rejected:
        raise RuntimeError(f"{rejected.group(1)} requests were refused: {output}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        raise RuntimeError(f"wrk did not finish: {output}")
    return float(found.group(1))


async def bare(models: Models, seconds: int) -> float:
    port = models.free_port()
    async with program(["-m", "benchmarks.bare_fastapi", str(port)]) as running:
        await until_ready(f"http://127.0.0.1:{port}/readyz", running)
        await load(f"http://127.0.0.1:{port}/v1/jobs", 1)
        return await load(f"http://127.0.0.1:{port}/v1/jobs", seconds)


async def durable(stack: EmbeddedStack, models: Models, settings: KafkaSettings, seconds: int) -> float:
    async with gateway(stack, models, PREFIX) as (_, port):
        await load(f"http://127.0.0.1:{port}/v1/jobs", 1)
        rate = await load(f"http://127.0.0.1:{port}/v1/jobs", seconds)
    await _check(stack, settings)
    return rate


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


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    seconds = max(1, SECONDS // shorten)
    ours: list[float] = []
    theirs: list[float] = []
    async with services() as stack:
        settings = await prepare(stack, models, PREFIX)
        for _ in range(rounds):
            theirs.append(await bare(models, seconds))
            ours.append(await durable(stack, models, settings, seconds))
    row = [str(Rounds(ours)), str(Rounds(theirs)), ratio(Rounds(ours), Rounds(theirs))]
    by = "" if shutil.which("wrk") else " (by a client in Python, the slower side: wrk is not installed)"
    return [
        Table(
            f"Gateway: durable submits a second, beside a bare FastAPI route that validates the same body{by}",
            ["gateway (Kafka acknowledged, row in Postgres), submits/s", "bare FastAPI, requests/s", "ratio"],
            [row],
        )
    ]
