"""The promise, held against what is there: every accepted job has exactly one result, and none is lost."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import NamedTuple

import asyncpg
import httpx

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import jobs, kafka
from tests.acceptance.load import Load
from tests.waiting import eventually

READERS = 16
TOPICS = Topics("penstock")


class Found(NamedTuple):
    """What an audit counted. `repeated`: result records beyond one a job, which nobody is shown."""

    jobs: int
    repeated: int


async def audit(stack: Stack, http: httpx.AsyncClient, load: Load, timeout_s: float = 60.0) -> Found:
    """Wait until the load's jobs have ended; then look at Postgres, at HTTP and at the results topic."""
    assert load.accepted
    assert len(set(load.accepted.values())) == len(load.accepted), "two keys were given one job"
    await eventually(lambda: all_ended(stack, load), timeout_s, "every accepted job has ended")
    await check_rows(stack, load)
    results = await check_answers(http, load)
    repeated = await check_topic(stack, load, results)
    return Found(len(load.accepted), repeated)


async def rows_of(stack: Stack, load: Load) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(
            "select id, status, error, (metadata ->> 'number')::int as number from jobs where metadata ->> 'load' = $1",
            load.name,
        )
    finally:
        await connection.close()
    return rows


async def until_running(stack: Stack, load: Load) -> None:
    """Return once a micro-batch of the load's jobs has been at work for a while."""

    async def running() -> bool:
        return any(row["status"] == "running" for row in await rows_of(stack, load))

    await eventually(running, 30, "a micro-batch is running")


async def all_ended(stack: Stack, load: Load) -> bool:
    rows = await rows_of(stack, load)
    open_jobs = {row["number"]: row["status"] for row in rows if row["status"] in ("queued", "running")}
    assert not open_jobs, f"{len(open_jobs)} jobs have not ended: {dict(list(open_jobs.items())[:5])}"
    return True


async def all_succeeded(stack: Stack, ids: Collection[str]) -> bool:
    """Whether each of these jobs is there, and has succeeded."""
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        statuses = await connection.fetch("select status from jobs where id = any($1)", list(ids))
    finally:
        await connection.close()
    counts = Counter(row["status"] for row in statuses)
    assert counts == {"succeeded": len(ids)}, dict(counts)
    return True


async def check_rows(stack: Stack, load: Load) -> None:
    """One row for each key, and each succeeded."""
    rows = await rows_of(stack, load)
    assert {row["number"]: row["id"] for row in rows} == load.accepted
    assert len(rows) == len(load.accepted), "a key made more than one job"
    failed = {row["id"]: (row["status"], row["error"]) for row in rows if row["status"] != "succeeded"}
    assert not failed


async def check_answers(http: httpx.AsyncClient, load: Load) -> dict[str, jobs.Json]:
    """Over HTTP, each job shows the result of its own input."""
    results: dict[str, jobs.Json] = {}
    waiting = iter(load.accepted.items())

    async def reader() -> None:
        for number, job_id in waiting:
            job = await jobs.read(http, job_id)
            assert job["status"] == "succeeded"
            assert job["result"] == {"predictions": [number]}, f"job {number} has the result of another"
            results[job_id] = job["result"]

    await asyncio.gather(*(reader() for _ in range(READERS)))
    return results


async def check_topic(stack: Stack, load: Load, results: dict[str, jobs.Json]) -> int:
    """Whoever reads the topic and keeps the first record of each key sees the same. Returns how many more there are."""
    records: defaultdict[str, list[kafka.Heard]] = defaultdict(list)
    for record in await kafka.read_topic(stack.kafka_bootstrap_servers, TOPICS.results):
        if record.job_id in results:
            records[record.job_id].append(record)
    assert records.keys() == results.keys(), "a result is missing from the results topic"
    for job_id, found in records.items():
        assert len({record.partition for record in found}) == 1, "the records of a job stand in one partition"
        assert found[0].key == job_id.encode()
        assert {record.status for record in found} == {"succeeded"}
        assert json.loads(found[0].value) == results[job_id]
    return sum(len(found) - 1 for found in records.values())
