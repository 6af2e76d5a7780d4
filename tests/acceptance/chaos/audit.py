"""Looking at what is there in the end: in Postgres, in the results topic, and over HTTP."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import islice

import asyncpg
import httpx

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import jobs, kafka
from tests.acceptance.chaos.load import Load
from tests.acceptance.chaos.verdict import Row, Verdict, judge
from tests.waiting import eventually

READERS = 16
# Of the jobs, as many are also read over HTTP.
READ_OVER_HTTP = 500
TOPICS = Topics("penstock")


async def audit(stack: Stack, http: httpx.AsyncClient, load: Load) -> Verdict:
    """Fail unless every job of the load has its result, and one only."""
    assert load.accepted
    found = await examine(stack, load.accepted)
    assert not found.lost, found.lost[:5]
    assert not found.doubled, found.doubled[:5]
    assert await jobs_of(stack, load) == len(load.accepted), "a key made more than one job"
    await check_answers(http, load.accepted)
    return found


async def examine(stack: Stack, accepted: Mapping[int, str], timeout_s: float = 60.0) -> Verdict:
    """What became of the jobs, once all have ended or time is up."""
    ids = list(accepted.values())
    with suppress(AssertionError):  # the verdict says which have not
        await eventually(lambda: all_succeeded(stack, ids), timeout_s)
    rows = await fetch(stack, "select id, status, completed_at, result from jobs where id = any($1)", ids)
    records = await kafka.read_topic(stack.kafka_bootstrap_servers, TOPICS.results)
    return judge(accepted, [Row(*row) for row in rows], records)


async def all_succeeded(stack: Stack, ids: Collection[str]) -> bool:
    """Whether each of these jobs is there, and has succeeded."""
    statuses = await fetch(stack, "select status, count(*) from jobs where id = any($1) group by status", list(ids))
    counts = dict(map(tuple, statuses))
    assert counts == {"succeeded": len(ids)}, counts
    return True


async def until_running(stack: Stack, load: Load) -> None:
    """Return once a micro-batch of the load's jobs has been at work for a while."""

    async def running() -> bool:
        statuses = await fetch(stack, "select status from jobs where metadata ->> 'load' = $1", load.name)
        counts = Counter(row["status"] for row in statuses)
        assert counts["running"], counts
        return True

    await eventually(running, 30, "a micro-batch is running")


async def jobs_of(stack: Stack, load: Load) -> int:
    ((count,),) = await fetch(stack, "select count(*) from jobs where metadata ->> 'load' = $1", load.name)
    return int(count)


async def fetch(stack: Stack, sql: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
    finally:
        await connection.close()
    return rows


async def check_answers(http: httpx.AsyncClient, accepted: Mapping[int, str]) -> None:
    """Over HTTP, each job shows the result of its own input."""
    waiting = islice(accepted.items(), READ_OVER_HTTP)

    async def reader() -> None:
        for number, job_id in waiting:
            job = await jobs.read(http, job_id)
            assert job["status"] == "succeeded"
            assert job["result"] == {"predictions": [number]}, f"job {number} has the result of another"

    await asyncio.gather(*(reader() for _ in range(READERS)))
