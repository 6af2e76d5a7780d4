"""A route that is changed again and again while jobs come in over each gateway and straight to Kafka."""

import asyncio
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import httpx

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import jobs, kafka
from tests.acceptance.client import client_of
from tests.acceptance.routing.witness import MODEL, REQUEST
from tests.waiting import eventually, until

URL: Final = f"/v1/routes/{MODEL}"
VALUE: Final = json.dumps(REQUEST).encode()


class Sent(NamedTuple):
    """A job, by its id, and when it was sent: seconds of `time.monotonic`. `over`: by which way."""

    id: str
    over: str
    at_s: float


class Change(NamedTuple):
    """A revision: when it was asked for, and when every gateway and router was said to have it."""

    revision: int
    asked_s: float
    everywhere_s: float
    replicas: int


class Served(NamedTuple):
    """How a job ended: the version and revision that its result names, and the version that the answer tells."""

    status: str
    named: str
    revision: int
    served_by: str


@dataclass
class Run:
    """What was sent, changed, and came of it."""

    sent: list[Sent] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    served: dict[str, Served] = field(default_factory=dict)

    def stale(self) -> list[tuple[Sent, Change]]:
        """Jobs that went by an earlier revision although everybody was said to have a later one."""
        return [
            (sent, change)
            for change in self.changes
            for sent in self.sent
            if sent.at_s > change.everywhere_s and self.served[sent.id].revision < change.revision
        ]

    def last_by_the_old_s(self) -> list[float]:
        """Of each change, how long after it was asked for the last job was sent that still went by an older one."""
        return [
            max(
                (
                    sent.at_s - change.asked_s
                    for sent in self.sent
                    if sent.at_s > change.asked_s and self.served[sent.id].revision < change.revision
                ),
                default=0.0,
            )
            for change in self.changes
        ]


async def run_changes(stack: Stack, topics: Topics, *, changes: int, per_s: float, pause_s: float) -> Run:
    """`per_s`: jobs a second by each way; each change comes `pause_s` after the one before."""
    run = Run()
    done = asyncio.Event()
    async with client_of(stack.gateway_urls[0]) as http:
        await eventually(lambda: both_are_served(http), 60, "both versions are served")
        answer = await http.put(URL, json={"versions": {"1": 10_000}}, headers={"prefer": "wait=60"})
        assert answer.status_code == 200, answer.text
        senders = [asyncio.create_task(over_http(url, run, per_s, done)) for url in stack.gateway_urls]
        senders.append(asyncio.create_task(over_kafka(stack, topics, run, per_s, done)))
        try:
            for number in range(changes):
                await until(time.monotonic() + pause_s)
                run.changes.append(await change(http, number))
            await until(time.monotonic() + pause_s)
        finally:
            done.set()
            await asyncio.gather(*senders)
        await http.delete(URL)
    await eventually(lambda: all_served(stack, topics, run), 60, "every job has its result")
    return run


async def both_are_served(http: httpx.AsyncClient) -> bool:
    answer = await http.get(f"/v1/models/{MODEL}")
    return answer.status_code == 200 and [each["state"] for each in answer.json()["version_states"]] == ["serving"] * 2


async def change(http: httpx.AsyncClient, number: int) -> Change:
    """All, a quarter and half of the jobs to version 1 in turn; the others to version 2."""
    asked_s = time.monotonic()
    share = 10_000 if number % 3 == 0 else 2500 * (number % 3)
    body = {"versions": {"1": share, "2": 10_000 - share}, "labels": {"stable": "1", "canary": "2"}}
    answer = await http.put(URL, json=body, headers={"if-match": "*", "prefer": "wait=60"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=60"
    route = answer.json()
    assert {each["revision"] for each in route["replicas"]} == {route["revision"]}
    return Change(route["revision"], asked_s, time.monotonic(), len(route["replicas"]))


async def over_http(url: str, run: Run, per_s: float, done: asyncio.Event) -> None:
    async with client_of(url) as http:
        next_s = time.monotonic()
        while not done.is_set():
            at_s = time.monotonic()
            job = jobs.accepted(await http.post(f"/v1/models/{MODEL}/jobs", json=REQUEST))
            run.sent.append(Sent(job["id"], url, at_s))
            next_s = max(next_s + 1 / per_s, at_s)
            await until(next_s)


async def over_kafka(stack: Stack, topics: Topics, run: Run, per_s: float, done: asyncio.Event) -> None:
    next_s = time.monotonic()
    while not done.is_set():
        at_s = time.monotonic()
        job_id = f"routed-{uuid.uuid4().hex}"
        said = {"ce_id": job_id, "model": MODEL}
        await asyncio.to_thread(kafka.send, stack.kafka_bootstrap_servers, topics.requests, VALUE, said)
        run.sent.append(Sent(job_id, "kafka", at_s))
        next_s = max(next_s + 1 / per_s, at_s)
        await until(next_s)


async def all_served(stack: Stack, topics: Topics, run: Run) -> bool:
    """Note how each job has ended; whether all of them have."""
    for record in await kafka.read_topic(stack.kafka_bootstrap_servers, topics.results):
        if record.job_id not in run.served and record.headers.get("ce_model") == MODEL.encode():
            run.served[record.job_id] = _served(record)
    return all(each.id in run.served for each in run.sent)


def _served(record: kafka.Heard) -> Served:
    outputs = json.loads(record.value).get("outputs") or [{"data": ["nobody"]}]
    return Served(
        record.status,
        record.headers["ce_modelversion"].decode(),
        int(record.headers.get("ce_routerevision", b"0")),
        str(outputs[0]["data"][0]),
    )
