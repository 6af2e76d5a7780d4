"""Ten million ended jobs of nine days: what a purge costs submits, and how fast each of its ways is.

One database for all rounds. A round is a load alone, then the same load beside a purge as the sink does it, which runs
for all of that time, for a retention that is a day shorter than in the round before: it truncates a day, and walks the
jobs of direct producers.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from benchmarks.figures import Rounds, Table, amount, ratio
from benchmarks.latency import percentile_ms
from benchmarks.models import Models
from benchmarks.services import services
from penstock.embedded.elsewhere import Service
from runtime.clock import now_utc
from schemas.jobs import Job, Payload, Status, end_of, new_job_id
from schemas.topics import LaneClass
from stores.postgres import PostgresAdmissions, PostgresPurging, PostgresResults, migrate
from stores.postgres.places import DAY_MS, REST, SLOTS, slot_table
from stores.postgres.purging.by_walk import ByWalk
from stores.postgres.purging.rule import Rule
from stores.postgres.purging.slots import Slots
from workers.sink.chores import purge_once

ROWS = 10_000_000
DAYS = 9
# The rounds leave days to be given back with nobody there, and jobs to be walked.
MOST_ROUNDS = 5
# A part of the jobs are direct producers': they lie in the parent.
DIRECT_SHARE = 0.1
SECONDS = 30.0
PER_S = 500
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


class Purge(NamedTuple):
    """`rows` of direct producers' jobs; the days beside them take next to no time."""

    rows: int
    seconds: float

    @property
    def per_s(self) -> float:
        return self.rows / self.seconds


class Size(NamedTuple):
    jobs: int
    bytes: float


class Figures(NamedTuple):
    """What submits took in seconds, a list for each round; then the purge."""

    alone_s: list[list[float]]
    beside_s: list[list[float]]
    paced: list[Purge]
    days: Purge
    walked: Purge
    looked_at: Purge
    before: Size
    after: Size


async def measure(_models: Models, rounds: int, shorten: int) -> list[Table]:
    async with services(frozenset([Service.POSTGRES])) as stack:
        await migrate(stack.postgres_dsn)
        await fill(stack.postgres_dsn, ROWS // shorten)
        return _tables(await _figures(stack.postgres_dsn, min(rounds, MOST_ROUNDS), SECONDS / shorten))


async def _figures(dsn: str, rounds: int, seconds: float) -> Figures:
    before = await size(dsn)
    alone_s, beside_s, paced = [], [], []
    for retention in (timedelta(days=DAYS - number) for number in range(1, rounds + 1)):
        alone_s.append(await load(dsn, seconds))
        rows = await count(dsn, "only jobs")
        async with _purging(dsn, retention):
            beside_s.append(await load(dsn, seconds))
        paced.append(Purge(rows - await count(dsn, "only jobs"), seconds))
    days = await _alone(dsn, Slots(timedelta(days=DAYS - MOST_ROUNDS - 1)))
    after = await size(dsn)
    nothing_due = await _alone(dsn, ByWalk(REST, "jobs", timedelta(days=DAYS + 1)))
    looked_at = Purge(await count(dsn, "only jobs"), nothing_due.seconds)
    walked = await _alone(dsn, ByWalk(REST, "jobs", timedelta(days=1)))
    return Figures(alone_s, beside_s, paced, days, walked, looked_at, before, after)


async def fill(dsn: str, rows: int) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight - timedelta(days=ago) for ago in range(DAYS, 0, -1)]
    direct = int(rows * DIRECT_SHARE / DAYS)

    async def fill_slots(days: Sequence[datetime]) -> None:
        async with connected(dsn) as connection:
            for day in days:
                slot = slot_table(int(day.timestamp() * 1000) // DAY_MS % SLOTS)
                await connection.execute(FILL.format(table=slot, prefix="job_"), day, rows // DAYS - direct)
                await connection.execute(f"vacuum analyze {slot}")

    async def fill_parent() -> None:
        async with connected(dsn) as connection:
            for day in days:
                await connection.execute(FILL.format(table="jobs", prefix="direct-"), day, direct)
            await connection.execute("vacuum analyze jobs")

    await asyncio.gather(fill_slots(days[::2]), fill_slots(days[1::2]), fill_parent())
    await execute(dsn, "checkpoint")


async def load(dsn: str, seconds: float) -> list[float]:
    """What submits took, in seconds. Open loop: a job is due each 1/500 s, and its time counts from then."""
    async with PostgresAdmissions(dsn) as admissions, PostgresResults(dsn) as endings:
        took_s: list[float] = []
        due_s = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        for _ in range(int(seconds * PER_S)):
            due_s += 1 / PER_S
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            task = asyncio.create_task(_one(admissions, endings, due_s, took_s))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        return took_s


async def _one(admissions: PostgresAdmissions, endings: PostgresResults, due_s: float, took_s: list[float]) -> None:
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
    took_s.append(time.perf_counter() - due_s)
    await endings.finish([end_of(job, Payload(b"x" * 200), now_utc())])


@asynccontextmanager
async def _purging(dsn: str, retention: timedelta) -> AsyncIterator[None]:
    """As the sink does it, but again and again, as long as the block lasts."""

    async def purge() -> None:
        while True:
            await purge_once(PostgresPurging(dsn, retention), now_utc)

    task = asyncio.create_task(purge())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task  # raises what ended it before


async def _alone(dsn: str, rule: Rule) -> Purge:
    """One way of the purge, without a rest between its steps and with nobody else there."""
    async with connected(dsn) as connection:
        await connection.execute("set enable_seqscan = off")
        rows, began_s = 0, time.perf_counter()
        async for some in rule.steps(connection, now_utc()):
            rows += some
        return Purge(rows, time.perf_counter() - began_s)


@asynccontextmanager
async def connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(dsn, command_timeout=3600)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(dsn: str, sql: str) -> None:
    async with connected(dsn) as connection:
        await connection.execute(sql)


async def count(dsn: str, table: str) -> int:
    async with connected(dsn) as connection:
        rows: int = await connection.fetchval(f"select count(*) from {table}")  # noqa: S608 - no input
        return rows


async def size(dsn: str) -> Size:
    async with connected(dsn) as connection:
        in_bytes = float(await connection.fetchval("select pg_database_size(current_database())"))
    return Size(await count(dsn, "jobs"), in_bytes)


def _tables(figures: Figures) -> list[Table]:
    def at(percent: int, rounds: list[list[float]]) -> Rounds:
        return Rounds([percentile_ms(took_s, percent) for took_s in rounds])

    alone, beside = figures.alone_s, figures.beside_s
    paced = Purge(sum(each.rows for each in figures.paced), sum(each.seconds for each in figures.paced))
    return [
        Table(
            f"Retention: submits at {PER_S} jobs/s that end, in milliseconds, over jobs of {DAYS} days",
            ["", "without the purge", "while it runs", "ratio (goal 1.2 for p99)"],
            [
                [f"p{each}", str(at(each, alone)), str(at(each, beside)), ratio(at(each, beside), at(each, alone))]
                for each in (50, 99)
            ],
        ),
        Table(
            "Retention: what the purge does",
            ["", "jobs", "seconds", "jobs/s (goal 500)"],
            [
                [name, amount(purge.rows), amount(purge.seconds), amount(purge.per_s)]
                for name, purge in (
                    ("days given back, alone", figures.days),
                    ("direct producers' jobs deleted, alone", figures.walked),
                    ("the same at the pace of the sink, beside the submits", paced),
                    ("direct producers' jobs looked at, none due, alone", figures.looked_at),
                )
            ],
        ),
        Table(
            "Retention: what lies in the database",
            ["", "jobs", "MB"],
            [
                [name, amount(lies.jobs), amount(lies.bytes / 1e6)]
                for name, lies in (("before", figures.before), ("when the days were given back", figures.after))
            ],
        ),
    ]
