"""A run: jobs whose ends several receivers are told of, faults by a schedule, and a count of what arrived."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from penstock.stack import Stack
from tests.acceptance.chaos.faults import Fault, Kind, Rule
from tests.acceptance.chaos.injecting import Injector
from tests.acceptance.chaos.load import Load
from tests.acceptance.client import client_of
from tests.acceptance.receiving import Receiver, receiving
from tests.waiting import eventually

# So long a receiver takes, that a notifier which is killed has something on its way.
TAKES_S = 0.1
OWN = "/own"  # of each job; the others are registered
# A lease lasts half a minute, and an endpoint that was degraded is probed after as long.
ARRIVED_WITHIN_S = 240.0
KEYS = f"chaos:{'A' * 43}="

Event = tuple[str, str]  # where it is sent to, and the job


def rules(notifiers: Sequence[str]) -> list[Rule]:
    return [
        Rule(Kind.KILL, notifiers, every_s=5),
        Rule(Kind.TERMINATE, notifiers, every_s=20),
        Rule(Kind.KILL, ["sink"], every_s=15),
        Rule(Kind.KILL, ["Postgres"], every_s=20),
        Rule(Kind.TERMINATE, ["Postgres"], every_s=60),
    ]


@dataclass(frozen=True)
class Report:
    """`repeats`: how many events came so many times more than once. `changed_id`: those that came under two ids.
    `latest_s`: from the end of the load to the arrival of the last."""

    wanted: int
    arrived: int
    missing: Sequence[Event]
    changed_id: Sequence[Event]
    repeats: Counter[int]
    faults: Counter[str]
    latest_s: float
    gave_up: Sequence[str]

    @property
    def kept(self) -> bool:
        return not self.missing and not self.changed_id and not self.gave_up

    def lines(self) -> str:
        repeated = sum(self.repeats.values())
        told = ", ".join(f"{count} came {more + 1} times" for more, count in sorted(self.repeats.items()))
        killed = ", ".join(f"{name} {count} times" for name, count in sorted(self.faults.items()))
        return "\n".join(
            [
                f"ended by a signal: {killed}",
                f"{self.wanted} events, {len(self.missing)} missing, {len(self.changed_id)} under two ids",
                f"{repeated} events were repeated ({told or 'none'}), {self.arrived} requests in all",
                f"the last came {self.latest_s:.1f} s after the last job was accepted",
                *(f"missing: {path} {job}" for path, job in self.missing[:10]),
                *self.gave_up[:10],
            ]
        )


async def run(
    stack: Stack, jobs: int, per_s: float, endpoints: int, faults: Sequence[Fault], announce: Callable[[str], None]
) -> Report:
    async with receiving(TAKES_S) as receiver, client_of(stack.gateway_url) as http:
        paths = [f"/{number}" for number in range(endpoints)]
        for path in paths:
            await _register(http, f"{receiver.url}{path}")
        load = Load(http, webhook=f"{receiver.url}{OWN}")
        injector = Injector(stack, announce)
        async with asyncio.TaskGroup() as group:
            group.create_task(injector.inject(faults))
            group.create_task(load.arrive(jobs, per_s))
        accepted_s = time.monotonic()
        wanted = {(path, job) for path in [OWN, *paths] for job in load.accepted.values()}
        announce(f"all jobs are accepted: {load}; {len(wanted)} events are to come")
        try:
            await eventually(lambda: wanted <= _seen(receiver).keys(), ARRIVED_WITHIN_S)
        except AssertionError:
            announce(f"not all events came within {ARRIVED_WITHIN_S:g} s")
        return _report(receiver, wanted, faults, time.monotonic() - accepted_s, load.gave_up)


async def _register(http: httpx.AsyncClient, url: str) -> None:
    asked = {"name": "chaos", "url": url, "event_types": ["job.succeeded", "job.failed"]}
    answer = await http.post("/v1/webhook_endpoints", json=asked)
    assert answer.is_success, answer.text


def _seen(receiver: Receiver) -> Counter[Event]:
    return Counter((event.path, event.subject) for event in receiver.events)


def _report(
    receiver: Receiver, wanted: set[Event], faults: Sequence[Fault], latest_s: float, gave_up: Sequence[str]
) -> Report:
    seen = _seen(receiver)
    return Report(
        wanted=len(wanted),
        arrived=len(receiver.events),
        missing=sorted(wanted - seen.keys()),
        changed_id=sorted((path, job) for (path, _, job), ids in receiver.ids.items() if len(ids) > 1),
        repeats=Counter(count - 1 for count in seen.values() if count > 1),
        faults=Counter(fault.part for fault in faults),
        latest_s=latest_s,
        gave_up=gave_up,
    )
