"""`make outage`: Kafka, Postgres and Valkey hang, one after the other, under submits that are not tried again.

What must hold: each submit is answered within the time that is stated for it; each that is accepted succeeds; and what
was refused leaves nothing behind that could only end at its deadline.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from uuid import uuid4

import click
import httpx
import psutil

from gateway.submissions import ANSWERED_WITHIN_S
from penstock.part import Part
from penstock.stack import Stack
from tests.acceptance.chaos.audit import all_succeeded, fetch
from tests.acceptance.chaos.injecting import part_of
from tests.acceptance.chaos.wholeness import is_whole
from tests.acceptance.client import NO_AUTHORITIES
from tests.acceptance.opening import heard
from tests.acceptance.repository import write_repository
from tests.acceptance.role_logs import LOGS
from tests.waiting import eventually, until

SERVICES = ("Kafka", "Postgres", "Valkey")
PAYLOAD_BYTES = 10_000
# A client's own time, and that of a busy machine.
CLIENT_SLACK_S = 5.0
BEFORE_S, AFTER_S = 1.0, 2.0
SETTLED_WITHIN_S = 120.0
KEYED_EVERY = 2


@dataclass
class Outage:
    """What clients saw while the part hung: `accepted` maps ids to what they sent, `answers` counts what was said."""

    part: str
    accepted: list[str] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)

    @property
    def too_slow(self) -> int:
        return sum(took_s > ANSWERED_WITHIN_S + CLIENT_SLACK_S for took_s in self.took_s)

    def __str__(self) -> str:
        took_s = sorted(self.took_s)
        return (
            f"{self.part}: {len(took_s)} submits, {dict(self.answers)}; answered after "
            f"{took_s[len(took_s) // 2]:.2f} s (median), {took_s[int(len(took_s) * 0.99)]:.2f} s (p99), "
            f"{took_s[-1]:.2f} s (longest)"
        )


@contextmanager
def hanging(part: Part) -> Iterator[None]:
    """The part's processes stand still, all of them, and go on at the end."""
    first = psutil.Process(part.pid)
    first.send_signal(SIGSTOP)
    stopped = [first]
    try:
        for child in first.children(recursive=True):
            child.send_signal(SIGSTOP)
            stopped.append(child)
        yield
    finally:
        for process in stopped:
            if process.is_running():
                process.send_signal(SIGCONT)


async def suffer(stack: Stack, name: str, *, stopped_s: float, per_s: float) -> Outage:
    """Submit at a steady rate while the part hangs. Fails where one of the promises is not kept."""
    outage = Outage(name)
    load = uuid4().hex
    # As many connections as there are submits: a client's own queue is not what is measured.
    many = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with (
        httpx.AsyncClient(base_url=stack.gateway_url, timeout=120, limits=many, verify=NO_AUTHORITIES) as http,
        asyncio.TaskGroup() as submits,
    ):
        began_s = time.monotonic()
        arriving = submits.create_task(_arrive(submits, http, outage, load, per_s, BEFORE_S + stopped_s + AFTER_S))
        await until(began_s + BEFORE_S)
        with hanging(part_of(stack, name)):
            await until(began_s + BEFORE_S + stopped_s)
        await arriving
    await _check(stack, outage, load)
    return outage


async def _arrive(
    submits: asyncio.TaskGroup, http: httpx.AsyncClient, outage: Outage, load: str, per_s: float, duration_s: float
) -> None:
    began_s = time.monotonic()
    for number in range(int(per_s * duration_s)):
        await until(began_s + number / per_s)
        submits.create_task(_submit(http, outage, load, number))


async def _submit(http: httpx.AsyncClient, outage: Outage, load: str, number: int) -> None:
    body = {
        "model": "echo",
        "input": {"instances": [f"{number}".ljust(PAYLOAD_BYTES, ".")]},
        "metadata": {"load": load, "number": number},
    }
    headers = {} if number % KEYED_EVERY else {"idempotency-key": f"{load}-{number}"}
    began_s = time.monotonic()
    answer = await http.post("/v1/jobs", json=body, headers=headers)
    outage.took_s.append(time.monotonic() - began_s)
    if answer.status_code == 202:
        outage.accepted.append(answer.json()["id"])
        outage.answers["accepted"] += 1
    else:
        outage.refused.add(number)
        outage.answers[answer.json()["error"]["code"]] += 1


async def _check(stack: Stack, outage: Outage, load: str) -> None:
    await eventually(lambda: all_succeeded(stack, outage.accepted), SETTLED_WITHIN_S, "what was accepted succeeds")

    async def nothing_is_left() -> bool:
        rows = await fetch(stack, "select status, metadata ->> 'number' from jobs where metadata ->> 'load' = $1", load)
        left = Counter(status for status, number in rows if int(number) in outage.refused)
        assert not left - Counter(succeeded=left["succeeded"]), left
        return True

    await eventually(nothing_is_left, SETTLED_WITHIN_S, "what was refused leaves nothing behind")
    assert not outage.too_slow, f"{outage.too_slow} took longer than {ANSWERED_WITHIN_S:g} s: {outage}"


async def suffer_all(stopped_s: float, per_s: float, services: tuple[str, ...], tell: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="penstock-outage-") as directory:
        models = write_repository(Path(directory))
        environ = os.environ | {"PENSTOCK_TOPIC_PREFIX": "penstock", "PENSTOCK_WORKER_MODELS": "echo/1"}
        async with heard(models=models, environ=environ) as stack:
            for name in services:
                await eventually(lambda: is_whole(stack), 60, "the stack is whole")
                tell(str(await suffer(stack, name, stopped_s=stopped_s, per_s=per_s)))


@click.command()
@click.option("--stopped-s", type=click.FloatRange(1), default=60, show_default=True, help="How long each hangs.")
@click.option("--per-s", type=click.FloatRange(1), default=100, show_default=True, help="Submits a second, of 10 kB.")
@click.option("--service", "services", type=click.Choice(SERVICES), multiple=True, default=SERVICES, show_default=True)
def main(stopped_s: float, per_s: float, services: tuple[str, ...]) -> None:
    """Have each service hang under load, and see that every submit is answered in time and nothing is lost or left."""
    try:
        asyncio.run(suffer_all(stopped_s, per_s, services, click.echo))
    except BaseExceptionGroup as failures:
        click.echo(LOGS.since(0), err=True)
        raise failures.exceptions[0] from None
    except AssertionError:
        click.echo(LOGS.since(0), err=True)
        raise


if __name__ == "__main__":
    main()
