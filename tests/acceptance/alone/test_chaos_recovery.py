"""How long those who wait notice that a role was killed: as long as its start takes, not as long as a session."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from penstock.stack import Stack
from tests.acceptance.chaos.audit import TOPICS, all_succeeded, audit
from tests.acceptance.chaos.direct import DirectLoad
from tests.acceptance.chaos.load import Load
from tests.acceptance.chaos.wholeness import is_whole
from tests.acceptance.client import client_of
from tests.acceptance.opening import heard, opened
from tests.services import SOURCES, service_source
from tests.waiting import eventually, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSION_S = 30
PER_S, JOBS = 20, 100
KILLED_AT = JOBS // 4
# A start of the role on a very busy machine; a session is far longer.
WAITED_AT_MOST_S = 15.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lone(models: Path, environ: dict[str, str]) -> AsyncIterator[Stack]:
    """One of each role, and sessions long enough for nobody to get by without the one that is killed."""
    if service_source() is not SOURCES["embedded"]:
        pytest.skip("only services of our own may be broken")
    told = environ | {"PENSTOCK_KAFKA_SESSION_TIMEOUT_S": str(SESSION_S), "PENSTOCK_WORKER_MODELS": "tickets/*"}
    whole = heard(models=models, environ=told)
    async with opened(whole):
        yield whole


@pytest_asyncio.fixture(loop_scope="session")
async def http(lone: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(lone.gateway_url, timeout_s=60) as client:
        yield client


@pytest.mark.parametrize("role", ["worker", "sink"])
async def test_who_waits_while_a_role_is_killed_waits_for_its_start_and_no_longer(
    lone: Stack, http: httpx.AsyncClient, role: str
) -> None:
    load = Load(http)
    waited_s: list[float] = []

    async def wait_for(number: int, due_s: float) -> None:
        answer = await load.attempt(number, wait_s=60)
        assert isinstance(answer, httpx.Response)
        assert answer.status_code == 200, answer.text
        load.accepted[number] = answer.json()["id"]
        waited_s.append(time.monotonic() - due_s)

    await eventually(lambda: is_whole(lone), 60, "the stack is whole")
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number in range(JOBS):
            await until(began_s + number / PER_S)
            if number == KILLED_AT:
                lone.role(role).kill()
            clients.create_task(wait_for(number, began_s + number / PER_S))
    assert max(waited_s) < WAITED_AT_MOST_S
    await audit(lone, http, load)


async def test_jobs_of_direct_producers_wait_for_the_start_of_a_killed_router_and_no_longer(lone: Stack) -> None:
    await eventually(lambda: is_whole(lone), 60, "the stack is whole")
    load = DirectLoad(lone.kafka_bootstrap_servers, TOPICS.requests, first=0)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.arrive(JOBS, PER_S))
        await until(time.monotonic() + KILLED_AT / PER_S)
        lone.role("router").kill()
    await eventually(lambda: all_succeeded(lone, load.accepted.values()), WAITED_AT_MOST_S, "the router reads on")
    assert len(load.accepted) == JOBS
