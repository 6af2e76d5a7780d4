"""A chaos run: load from HTTP and Kafka, faults by a schedule, and a verdict on what is there in the end."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.stack import Stack
from tests.acceptance.chaos.audit import TOPICS, examine, jobs_of
from tests.acceptance.chaos.direct import DirectLoad
from tests.acceptance.chaos.faults import Fault
from tests.acceptance.chaos.injecting import Injector
from tests.acceptance.chaos.load import Load
from tests.acceptance.chaos.open_loop import OpenLoopClient
from tests.acceptance.chaos.retries import Sorted, sort
from tests.acceptance.chaos.verdict import Verdict
from tests.acceptance.chaos.wholeness import is_whole
from tests.acceptance.processor import Shares, shares_from_now
from tests.waiting import eventually

# Of the jobs, this many in a hundred come as records from a direct producer.
DIRECT_PERCENT = 20
# Numbers of direct jobs begin here: no two jobs of a run have the same.
FIRST_DIRECT = 1_000_000_000
WHOLE_WITHIN_S = 120.0
ENDED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Plan:
    """`jobs` at `per_s`, whatever becomes of them, while the faults happen."""

    jobs: int
    per_s: float
    faults: Sequence[Fault]


@dataclass(frozen=True)
class Report:
    """What came of a run that began at `began_s`. `refusals`: what clients were told before they tried again;
    `retries`: of requests cut off by the end of their gateway; `latest_s`: how far arrivals fell behind their times,
    over HTTP and to Kafka; `clients`: what the thread that all of them share had of a processor."""

    plan: Plan
    verdict: Verdict
    attempts: int
    refusals: Counter[str]
    retries: Sequence[Sorted]
    gave_up: Sequence[str]
    latest_s: float
    clients: Shares
    began_s: float
    took_s: float

    @property
    def kept(self) -> bool:
        return self.verdict.kept and not self.gave_up and self.verdict.jobs == self.plan.jobs


async def run(stack: Stack, plan: Plan, announce: Callable[[str], None]) -> Report:
    """Have the stack suffer the plan. What does not end in time counts as lost."""
    began = time.monotonic()

    def say(line: str) -> None:
        announce(f"{time.monotonic() - began:6.1f} s  {line}")

    direct_jobs = plan.jobs * DIRECT_PERCENT // 100
    direct_per_s = plan.per_s * DIRECT_PERCENT / 100
    direct = DirectLoad(stack.kafka_bootstrap_servers, TOPICS.requests, first=FIRST_DIRECT)
    clients = [OpenLoopClient(url) for url in stack.gateway_urls]
    load = Load(*clients)
    injector = Injector(stack, say)
    shares = shares_from_now()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(injector.inject(plan.faults))
            group.create_task(direct.arrive(direct_jobs, direct_per_s))
            group.create_task(load.arrive(plan.jobs - direct_jobs, plan.per_s - direct_per_s))
    finally:
        for client in clients:
            client.close()
    had = shares()
    say(f"all jobs are accepted: {load}")
    await eventually(lambda: is_whole(stack), WHOLE_WITHIN_S, "the stack is whole again")
    verdict = await examine(stack, load.accepted | direct.accepted, ENDED_WITHIN_S)
    doubled = [*verdict.doubled, *load.doubled]
    if (rows := await jobs_of(stack, load)) != len(load.accepted):
        doubled.append(f"{len(load.accepted)} keys made {rows} jobs")
    return Report(
        plan=plan,
        verdict=verdict._replace(doubled=doubled),
        attempts=load.attempts,
        refusals=load.refusals,
        retries=sort(load.cuts, injector.journal.away, [name for name in stack.roles if name.startswith("gateway")]),
        gave_up=[*load.gave_up, *direct.gave_up],
        latest_s=max(load.latest_s, direct.latest_s),
        clients=had,
        began_s=began,
        took_s=time.monotonic() - began,
    )
