"""Submit-to-result latency at a steady rate, open loop: a slow answer does not slow the next request.

Latency counts from the moment a request was due, not from when it was sent, so that nothing is omitted.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import orjson

from benchmarks.figures import Rounds, Table
from benchmarks.gateway import environment, gateway, prepare
from benchmarks.http import Client
from benchmarks.models import Models
from benchmarks.pacing import paced
from benchmarks.processes import program, until_ready
from benchmarks.services import services
from benchmarks.submit_rate import body

JOBS_PER_S = 500
SECONDS = 10
WARM_S = 2
POLL_EVERY_S = 0.005
PREFIX = "latency"

JSON = {"Content-Type": "application/json"}
WAIT = {**JSON, "Prefer": "wait=10"}


async def wait(client: Client, job: bytes) -> None:
    """One request that is answered when the job is done."""
    answer = await client.request("POST", "/v1/jobs", job, WAIT)
    if answer.status != 200 or orjson.loads(answer.body)["status"] != "succeeded":
        raise RuntimeError(f"{answer.status}: {answer.body[:200]!r}")


async def poll(client: Client, job: bytes) -> None:
    """Submit, then ask again and again."""
    answer = await client.request("POST", "/v1/jobs", job, JSON)
    if answer.status != 202:
        raise RuntimeError(f"{answer.status}: {answer.body[:200]!r}")
    path = f"/v1/jobs/{orjson.loads(answer.body)['id']}"
    while True:
        await asyncio.sleep(POLL_EVERY_S)
        found = orjson.loads((await client.request("GET", path)).body)
        if found["done"]:
            if found["status"] != "succeeded":
                raise RuntimeError(f"the job ended as {found['status']}")
            return


async def open_loop(port: int, seconds: float, way: Callable[[Client, bytes], Awaitable[None]]) -> list[float]:
    """Seconds from due to done, of every job."""
    client, job = Client("127.0.0.1", port), body()
    took = await paced(JOBS_PER_S, seconds, lambda: way(client, job))
    client.close()
    return took


def percentile_ms(took: list[float], percent: int) -> float:
    return statistics.quantiles(took, n=100, method="inclusive")[percent - 1] * 1000


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    seconds = max(1.0, SECONDS / shorten)
    async with AsyncExitStack() as open_:
        stack = await open_.enter_async_context(services())
        await prepare(stack, models, PREFIX)
        for role in ("worker", "sink"):
            health = models.free_port()
            told = environment(stack, PREFIX, models) | {"PENSTOCK_HEALTH_PORT": str(health)}
            told["PENSTOCK_WORKER_MODELS"] = "digits/2"  # the default version, which is what the jobs ask for
            running = await open_.enter_async_context(program(["-m", "penstock", role], told))
            await until_ready(f"http://127.0.0.1:{health}/readyz", running)
        _, port = await open_.enter_async_context(gateway(stack, models, PREFIX))
        rows = [
            await _row(name, way, port, rounds, seconds) for name, way in (("Prefer: wait", wait), ("polling", poll))
        ]
    return [
        Table(
            f"Submit to result, {JOBS_PER_S} jobs/s open loop, in milliseconds",
            ["client", "p50", "p99"],
            rows,
        )
    ]


async def _row(
    name: str, way: Callable[[Client, bytes], Awaitable[None]], port: int, rounds: int, seconds: float
) -> list[str]:
    await open_loop(port, min(WARM_S, seconds), way)
    taken = [await open_loop(port, seconds, way) for _ in range(rounds)]
    return [name, *(str(Rounds([percentile_ms(took, percent) for took in taken])) for percent in (50, 99))]
