"""Jobs a second from submit to a result that can be polled: 64 connections that submit without rest, on a fresh stack.

Jobs count when Postgres has their end. How long that took is asked twice: Postgres says when a job was accepted and
when its worker was done, and a few jobs beside the load are polled from outside, which also counts the way to Postgres.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg

from benchmarks.digits_peers import body
from benchmarks.figures import Rounds, Table
from benchmarks.installation import PARTS, installation
from benchmarks.latency import CLIENT, PATH, percentile_ms
from benchmarks.load import Target, Way
from benchmarks.models import Models

SECONDS = 20.0
WARM_S = 3.0
CONNECTIONS = 64
POLLED_PER_S = 20
DRAINED_WITHIN_S = 120.0
POLL_S = 0.1

_ENDED = "select count(*) from jobs where completed_at is not null"
_OPEN = "select count(*) from jobs where completed_at is null"
_TOOK = """
select percentile_cont(0.99) within group (order by extract(epoch from completed_at - created_at))
from jobs where created_at >= $1
"""


class Run(NamedTuple):
    """One round. `p99_s` is to the worker's end, `polled_p99_s` to a polled answer."""

    submits_per_s: float
    jobs_per_s: float
    p99_s: float
    polled_p99_s: float
    cpu_us: dict[str, float]


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    found: dict[str, list[Run]] = defaultdict(list)
    for _ in range(rounds):
        for name, checkout in models.checkouts().items():
            async with installation(checkout) as stack:
                connection = await asyncpg.connect(stack.postgres_dsn)
                try:
                    target = Target(stack.port, PATH, body(), stack.cpu_s)
                    await target.under(Way.SUBMIT, WARM_S / shorten, connections=CONNECTIONS)
                    await _drained(connection)
                    found[name].append(await _one(target, connection, SECONDS / shorten))
                finally:
                    await connection.close()
    return _tables(found)


async def _one(target: Target, connection: asyncpg.Connection, seconds: float) -> Run:
    began = await connection.fetchval("select now()")
    ended = await connection.fetchval(_ENDED)
    (outcome, cpu_s), (polled, _), jobs = await asyncio.gather(
        target.under(Way.SUBMIT, seconds, connections=CONNECTIONS),
        target.under(Way.POLL, seconds, per_s=POLLED_PER_S),
        _ended_within(connection, ended, seconds),
    )
    await _drained(connection)
    p99_s = await connection.fetchval(_TOOK, began)
    return Run(
        len(outcome.took_s) / outcome.seconds,
        jobs / seconds,
        float(p99_s),
        percentile_ms(polled.took_s, 99) / 1000,
        outcome.each_us({**cpu_s, CLIENT: outcome.cpu_s + polled.cpu_s}),
    )


async def _ended_within(connection: asyncpg.Connection, before: int, seconds: float) -> int:
    """How many jobs end from the first one on, in so many seconds."""
    await _until(lambda: connection.fetchval(f"select ({_ENDED}) > $1", before))
    await asyncio.sleep(seconds)
    return int(await connection.fetchval(_ENDED)) - before


async def _drained(connection: asyncpg.Connection) -> None:
    await _until(lambda: connection.fetchval(f"select ({_OPEN}) = 0"))


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DRAINED_WITHIN_S):
        while True:
            if await true():
                return
            await asyncio.sleep(POLL_S)


def _tables(found: dict[str, list[Run]]) -> list[Table]:
    return [
        Table(
            f"Throughput: {CONNECTIONS} connections that submit without rest, till the result can be polled",
            [
                "checkout",
                "submits/s",
                "jobs/s that ended (goal 5,000)",
                "p99 from accepted to the worker's end, s (goal 0.3)",
                f"p99 of {POLLED_PER_S} jobs/s polled beside it, s",
            ],
            [
                [name, *(str(Rounds(list(values))) for values in list(zip(*runs, strict=True))[:4])]
                for name, runs in found.items()
            ],
        ),
        Table(
            "Throughput: processor time a job by part, in microseconds",
            ["checkout", *PARTS, CLIENT],
            [
                [name, *(str(Rounds([run.cpu_us[part] for run in runs])) for part in (*PARTS, CLIENT))]
                for name, runs in found.items()
            ],
        ),
    ]
