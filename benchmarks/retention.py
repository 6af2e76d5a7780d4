"""Submits and ends at 500 jobs/s over ten million ended jobs, through the real stores, without and with a purge."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from benchmarks.figures import Rounds, Table, amount, ratio
from benchmarks.models import Models
from benchmarks.services import data_folder
from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack
from runtime.clock import now_utc
from schemas.jobs import Job, Payload, Status, end_of, new_job_id
from schemas.topics import LaneClass
from stores.postgres import PostgresAdmissions, PostgresPurging, PostgresResults, migrate
from stores.postgres.places import DAY_MS, SLOTS, slot_table
from workers.sink.chores import purge_once

ROWS = 10_000_000
DAYS = 9
# A part of the jobs are direct producers': they lie in the parent.
DIRECT_SHARE = 0.1
SECONDS = 60.0
PER_S = 500
RETENTION = timedelta(days=7)
FILL = """
insert into {table} (
    created_at, expires_at, completed_at, rows, tenant, id, model, version, lane, answer, status, result_content_type,
    result
)
select made, made + interval '10 minutes', made + interval '1 second', 1, 'default',
    '{prefix}' || lpad(to_hex((extract(epoch from made) * 1000)::bigint), 12, '0') || lpad(to_hex(number), 20, '0'),
    'digits', '2', 'live', 'tensors', 'succeeded', 'application/json', repeat('x', 200)::bytea
from generate_series(1, $2::integer) as number,
    lateral (select $1::timestamptz + number * interval '1 day' / ($2::integer + 1)) as at (made)
"""


class Run(NamedTuple):
    """Milliseconds of submits, and how the purge went beside them."""

    submits_ms: list[float]
    purge_s: float = 0.0


async def measure(_models: Models, rounds: int, shorten: int) -> list[Table]:
    alone: list[Run] = []
    purging: list[Run] = []
    sizes: list[tuple[float, float, int]] = []
    rows = ROWS // shorten
    for _ in range(rounds):
        with data_folder() as folder:
            async with EmbeddedStack(folder, services=frozenset([Service.POSTGRES])) as stack:
                dsn = stack.postgres_dsn
                await migrate(dsn)
                await fill(dsn, rows)
                before = await size_bytes(dsn)
                alone.append(await load(dsn, SECONDS / shorten))
                purging.append(await load(dsn, SECONDS / shorten, with_purge=True))
                left = await count(dsn)
                sizes.append((before, await size_bytes(dsn), rows - left))
    return _tables(alone, purging, sizes)


async def fill(dsn: str, rows: int) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with connected(dsn) as connection:
        await connection.execute("set synchronous_commit = off")
        for ago in range(1, DAYS + 1):
            day = midnight - timedelta(days=ago)
            direct = int(rows * DIRECT_SHARE / DAYS)
            slot = slot_table(int(day.timestamp() * 1000) // DAY_MS % SLOTS)
            await connection.execute(FILL.format(table=slot, prefix="job_"), day, rows // DAYS - direct)
            await connection.execute(FILL.format(table="jobs", prefix="direct-"), day, direct)
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")


async def load(dsn: str, seconds: float, *, with_purge: bool = False) -> Run:
    """Open loop: a job is due each 1/500 s, and its time counts from then."""
    async with PostgresAdmissions(dsn) as admissions, PostgresResults(dsn) as endings:
        took_ms: list[float] = []
        due_s = time.perf_counter()
        purge = asyncio.create_task(_timed(dsn)) if with_purge else None
        running: set[asyncio.Task[None]] = set()
        for _ in range(int(seconds * PER_S)):
            due_s += 1 / PER_S
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            task = asyncio.create_task(_one(admissions, endings, due_s, took_ms, purge))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        return Run(took_ms, await purge if purge else 0.0)


async def _one(
    admissions: PostgresAdmissions,
    endings: PostgresResults,
    due_s: float,
    took_ms: list[float],
    purge: "asyncio.Task[float] | None",
) -> None:
    now = now_utc()
    job = Job(
        tenant="default",
        id=new_job_id(),
        model="digits",
        version="2",
        lane=LaneClass.LIVE,
        status=Status.QUEUED,
        created_at=now,
        expires_at=now + timedelta(minutes=10),
    )
    await admissions.insert(job)
    if purge is None or not purge.done():
        took_ms.append((time.perf_counter() - due_s) * 1000)
    await endings.finish([end_of(job, Payload(b"x" * 200), now_utc())])


async def _timed(dsn: str) -> float:
    began_s = time.perf_counter()
    await purge_once(PostgresPurging(dsn, RETENTION), now_utc)
    return time.perf_counter() - began_s


@asynccontextmanager
async def connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(dsn, command_timeout=3600)
    try:
        yield connection
    finally:
        await connection.close()


async def size_bytes(dsn: str) -> float:
    async with connected(dsn) as connection:
        return float(await connection.fetchval("select pg_database_size(current_database())"))


async def count(dsn: str) -> int:
    """Of the jobs that were filled in."""
    async with connected(dsn) as connection:
        rows: int = await connection.fetchval("select count(*) from jobs where created_at < date_trunc('day', now())")
        return rows


def _tables(alone: list[Run], purging: list[Run], sizes: list[tuple[float, float, int]]) -> list[Table]:
    def at(share: float, runs: list[Run]) -> Rounds:
        return Rounds([sorted(run.submits_ms)[int(share * (len(run.submits_ms) - 1))] for run in runs])

    return [
        Table(
            f"Retention: submits at {PER_S} jobs/s that end, in milliseconds, over jobs of {DAYS} days",
            ["", "without the purge", "while it runs", "ratio (goal 1.2 for p99)"],
            [
                [name, str(at(share, alone)), str(at(share, purging)), ratio(at(share, purging), at(share, alone))]
                for name, share in (("p50", 0.5), ("p99", 0.99))
            ],
        ),
        Table(
            "Retention: what one purge does",
            ["jobs purged", "seconds", "jobs/s (goal 500)", "database before, MB", "after, MB"],
            [
                [
                    amount(Rounds([float(size[2]) for size in sizes]).median),
                    amount(Rounds([run.purge_s for run in purging]).median),
                    amount(Rounds([size[2] / run.purge_s for size, run in zip(sizes, purging, strict=True)]).median),
                    amount(Rounds([size[0] / 1e6 for size in sizes]).median),
                    amount(Rounds([size[1] / 1e6 for size in sizes]).median),
                ]
            ],
        ),
    ]
