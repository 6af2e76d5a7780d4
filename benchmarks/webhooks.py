"""Webhooks: what hanging endpoints do to the others, how much one notifier delivers, and what an event costs.

Postgres alone, a notifier as its own process, and a receiver as another (`benchmarks/receiver.py`). Each endpoint has a
tenant and an address of its own. Jobs end through the store, as a sink has them end.
"""

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, NamedTuple

import asyncpg

from benchmarks.figures import Rounds, Table, amount, ratio
from benchmarks.http import get
from benchmarks.latency import percentile_ms
from benchmarks.models import Models
from benchmarks.processes import Program, program, until_listening, until_ready
from benchmarks.receiver import hanging, healthy
from benchmarks.services import services
from penstock.embedded.elsewhere import Service
from penstock.embedded.ports import choose
from runtime.clock import now_utc
from schemas.jobs import Job, Payload, Status, Terminal, end_of, new_job_id
from schemas.signing import new_secret
from schemas.topics import LaneClass
from schemas.webhooks import Endpoint, EventType, Limits
from stores.postgres import PostgresAdmissions, PostgresResults, migrate
from stores.postgres.webhooks.endpoints import PostgresEndpoints
from stores.sealing import KeyRing

HEALTHY, HANGING = 100, 500
DUE_OF_HANGING = 10_000
# Open loop, below what one notifier can do on two cores; then a backlog that it works off.
PER_S, SECONDS = 200, 20.0
BACKLOG = 10_000
ENDS_AT_ONCE = 500
COSTED = 40  # groups of ends, and of submits

RESULT: Final = Payload(json.dumps({"outputs": [{"name": "y", "shape": [64], "data": [0.5] * 64}]}).encode())


class Bench(NamedTuple):
    dsn: str
    port: int
    key: bytes

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PENSTOCK_POSTGRES_DSN": self.dsn,
            "PENSTOCK_WEBHOOK_KEYS": f"bench:{base64.b64encode(self.key).decode()}",
            "PENSTOCK_WEBHOOK_ALLOW_PRIVATE": "true",
            "PENSTOCK_LOG_LEVEL": "error",
        }


class Run(NamedTuple):
    """What healthy endpoints saw: seconds from the end of a job to its arrival, and arrivals a second."""

    delays_s: list[float]
    per_s: float
    cpu_us: float  # of the notifier, a delivery


class Costs(NamedTuple):
    """Microseconds a job, a figure for each group."""

    without: list[float]
    subscribed: list[float]
    own: list[float]


async def measure(_models: Models, rounds: int, shorten: int) -> list[Table]:
    (port,) = choose(1)
    async with services(frozenset([Service.POSTGRES]), shorten=shorten) as stack:
        await migrate(stack.postgres_dsn)
        bench = Bench(stack.postgres_dsn, port, os.urandom(32))
        async with program(["-m", "benchmarks.receiver", str(port), str(HEALTHY), str(HANGING)]) as receiver:
            await until_listening(port, receiver)
            alone, beside, one = [], [], []
            for _ in range(rounds):
                alone.append(await run(bench, shorten, dead=False))
                beside.append(await run(bench, shorten, dead=True))
                one.append(await backlog(bench, shorten, endpoints=1))
            ends = await costs_of_ends(bench, shorten)
            submits = await costs_of_submits(bench, shorten)
    return [_isolation(alone, beside), _rate(alone, one), _costs(ends, submits)]


async def run(bench: Bench, shorten: int, *, dead: bool) -> Run:
    """A steady load, then a backlog; each on tables that are empty, with the deliveries of the dead due before."""
    await _prepare(bench, HEALTHY, dead=dead, shorten=shorten)
    async with notifier(bench):
        delays_s = await steady(bench, SECONDS / shorten)
    await _prepare(bench, HEALTHY, dead=dead, shorten=shorten)
    worked_off = await _work_off(bench, HEALTHY, shorten)
    return worked_off._replace(delays_s=delays_s)


async def backlog(bench: Bench, shorten: int, *, endpoints: int) -> Run:
    await _prepare(bench, endpoints, dead=False, shorten=shorten)
    return await _work_off(bench, endpoints, shorten)


async def _prepare(bench: Bench, endpoints: int, *, dead: bool, shorten: int) -> None:
    """New endpoints, of which the healthy have answered before; where some are dead, with what is due at them."""
    await _execute(
        bench, *(f"truncate webhook_{table}" for table in ("endpoints", "targets", "deliveries", "attempts"))
    )
    ring = KeyRing({"bench": bench.key})
    hosts = {f"healthy-{number}": healthy(number) for number in range(endpoints)}
    if dead:
        hosts |= {f"hanging-{number}": hanging(number) for number in range(HANGING)}
    async with PostgresEndpoints(bench.dsn) as store:
        for tenant, host in hosts.items():
            await store.add(_endpoint(tenant, f"http://{host}:{bench.port}/hook", ring, alone=endpoints == 1))
    await _execute(bench, "update webhook_targets set succeeded_at = now() where id like 'we_healthy-%'")
    if dead:
        due = DUE_OF_HANGING // shorten
        await _end(bench, [_ended(f"hanging-{number % HANGING}") for number in range(due)])


async def _execute(bench: Bench, *statements: str) -> None:
    connection = await asyncpg.connect(bench.dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _endpoint(tenant: str, url: str, ring: KeyRing, *, alone: bool) -> Endpoint:
    endpoint_id = f"we_{tenant}"
    return Endpoint(
        id=endpoint_id,
        tenant=tenant,
        name=tenant,
        url=url,
        event_types=(EventType.JOB_SUCCEEDED,),
        created_at=now_utc(),
        updated_at=now_utc(),
        secrets=(ring.seal(new_secret(), tenant, endpoint_id),),
        limits=Limits(concurrency=100) if alone else Limits(),
    )


def _queued(tenant: str, webhook: str | None = None) -> Job:
    now = now_utc()
    return Job(
        tenant=tenant,
        id=new_job_id(),
        model="digits",
        version="2",
        lane=LaneClass.LIVE,
        status=Status.QUEUED,
        created_at=now,
        expires_at=now + timedelta(minutes=10),
        webhook=webhook,
    )


def _ended(tenant: str) -> Terminal:
    return end_of(_queued(tenant), RESULT, now_utc())


async def _end(bench: Bench, ends: Sequence[Terminal]) -> None:
    async with PostgresResults(bench.dsn) as results:
        for first in range(0, len(ends), ENDS_AT_ONCE):
            await results.finish(ends[first : first + ENDS_AT_ONCE])


@asynccontextmanager
async def notifier(bench: Bench) -> AsyncIterator[Program]:
    (health,) = choose(1)
    environ = bench.environ | {"PENSTOCK_HEALTH_PORT": str(health)}
    async with program(["-P", "-m", "penstock", "notifier"], environ) as running:
        await until_ready(f"http://127.0.0.1:{health}/readyz", running)
        await _arrivals(bench)  # forget those before
        yield running


async def steady(bench: Bench, seconds: float) -> list[float]:
    """What it took from the end of each job to its arrival, open loop."""
    async with PostgresResults(bench.dsn, finishing_connections=4) as results, asyncio.TaskGroup() as ending:
        began_s = time.perf_counter()
        for number in range(int(seconds * PER_S)):
            await asyncio.sleep(max(0.0, began_s + number / PER_S - time.perf_counter()))
            ending.create_task(results.finish([_ended(f"healthy-{random.randrange(HEALTHY)}")]))
    arrived = await _until_arrived(bench, int(seconds * PER_S))
    return [at - _created_s(event_id) for event_id, at in arrived.items()]


async def _work_off(bench: Bench, endpoints: int, shorten: int) -> Run:
    wanted = BACKLOG // shorten
    await _end(bench, [_ended(f"healthy-{number % endpoints}") for number in range(wanted)])
    async with notifier(bench) as running:
        before_s = running.cpu_s()
        arrived = await _until_arrived(bench, wanted)
        cpu_s = running.cpu_s() - before_s
    # From a tenth to nine tenths: neither the start nor the last few count.
    times = sorted(arrived.values())[wanted // 10 : wanted - wanted // 10]
    return Run([], (len(times) - 1) / (times[-1] - times[0]), cpu_s / wanted * 1e6)


async def _until_arrived(bench: Bench, wanted: int) -> dict[str, float]:
    """When each event arrived first. Raises `TimeoutError`."""
    arrived: dict[str, float] = {}
    async with asyncio.timeout(120):
        while len(arrived) < wanted:
            await asyncio.sleep(0.25)
            for event_id, at in await _arrivals(bench):
                arrived.setdefault(event_id, at)
    return arrived


async def _arrivals(bench: Bench) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = json.loads((await get(f"http://127.0.0.1:{bench.port}/")).body)
    return found


def _created_s(event_id: str) -> float:
    """Ids begin with the time, in milliseconds."""
    return int(event_id.removeprefix("msg_")[:12], 16) / 1000


async def costs_of_ends(bench: Bench, shorten: int) -> Costs:
    """Groups as a sink writes them while it is busy, of three kinds in turns."""
    await _prepare(bench, 1, dead=False, shorten=shorten)
    own = f"http://{healthy(0)}:{bench.port}/own"
    costs = Costs([], [], [])
    async with PostgresResults(bench.dsn) as results, PostgresAdmissions(bench.dsn) as admissions:
        for _ in range(max(1, COSTED // shorten)):
            for kind, tenant, webhook in (
                (costs.without, "nobody", None),
                (costs.subscribed, "healthy-0", None),
                (costs.own, "nobody", own),
            ):
                jobs = [_queued(tenant, webhook) for _ in range(ENDS_AT_ONCE)]
                await asyncio.gather(*map(admissions.insert, jobs))
                began_s = time.perf_counter()
                await results.finish([end_of(job, RESULT, now_utc()) for job in jobs])
                kind.append((time.perf_counter() - began_s) / ENDS_AT_ONCE * 1e6)
    return costs


async def costs_of_submits(bench: Bench, shorten: int) -> Costs:
    costs = Costs([], [], [])
    async with PostgresAdmissions(bench.dsn) as admissions:
        for _ in range(max(1, COSTED // shorten)):
            for kind, webhook in ((costs.without, None), (costs.own, f"http://{healthy(0)}:{bench.port}/own")):
                jobs = [_queued("nobody", webhook) for _ in range(ENDS_AT_ONCE)]
                began_s = time.perf_counter()
                await asyncio.gather(*map(admissions.insert, jobs))
                kind.append((time.perf_counter() - began_s) / ENDS_AT_ONCE * 1e6)
    return costs


def _isolation(alone: Sequence[Run], beside: Sequence[Run]) -> Table:
    rows = []
    for name, pick in (
        (f"{PER_S} events/s: p50, ms", lambda run: percentile_ms(run.delays_s, 50)),
        (f"{PER_S} events/s: p99, ms", lambda run: percentile_ms(run.delays_s, 99)),
        ("a backlog: deliveries/s", lambda run: run.per_s),
    ):
        figures = [Rounds([pick(run) for run in runs]) for runs in (alone, beside)]
        rows.append([name, *map(str, figures), ratio(figures[1], figures[0])])
    title = f"Webhooks: {HEALTHY} healthy endpoints beside {HANGING} that hang, with {DUE_OF_HANGING:,} deliveries due"
    return Table(title, ["of the healthy", "alone", "beside the dead", "ratio"], rows)


def _rate(many: Sequence[Run], one: Sequence[Run]) -> Table:
    rows = [
        [name, str(Rounds([run.per_s for run in runs])), str(Rounds([run.cpu_us for run in runs]))]
        for name, runs in ((f"{HEALTHY} endpoints", many), ("one endpoint, 100 at a time", one))
    ]
    columns = ["backlog at", "deliveries/s", "processor time a delivery, µs"]
    return Table("Webhooks: one notifier with a receiver that answers at once", columns, rows)


def _costs(ends: Costs, submits: Costs) -> Table:
    rows = []
    for name, costs in ((f"a job's end, in groups of {ENDS_AT_ONCE}", ends), ("a submit", submits)):
        without = Rounds(costs.without)
        others = [Rounds(each) if each else None for each in (costs.subscribed, costs.own)]
        told = [
            cell
            for each in others
            for cell in (("", "") if each is None else (amount(each.median), ratio(each, without)))
        ]
        rows.append([name, amount(without.median), *told])
    columns = ["µs a job of", "no webhook", "an endpoint", "ratio", "a webhook of its own", "ratio"]
    return Table("Webhooks: what they cost others", columns, rows)
