"""Roles that end while somebody waits for them."""

import asyncio

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import jobs
from tests.acceptance.chaos.audit import audit, until_running
from tests.acceptance.chaos.load import Load
from tests.acceptance.chaos.wholeness import is_whole
from tests.acceptance.client import client_of
from tests.acceptance.repository import MANY_TURNS
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_gateway_that_stops_lets_its_waiters_go_with_a_job_to_poll(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    # Given a client that waits for a slow job, at a gateway that it knows: of the shared port the system chooses one
    async with client_of(fragile.gateway_urls[0], timeout_s=60) as at_the_first:
        load = Load(at_the_first, turns=8 * MANY_TURNS)
        waiting = asyncio.create_task(load.attempt(0, wait_s=60))
        await until_running(fragile, load)
        # When that gateway is told to stop
        fragile.role("gateway").terminate()
        # Then the client is not left alone, and finds its job at the next one
        answer = await waiting
    assert isinstance(answer, httpx.Response)
    job = jobs.accepted(answer)
    assert answer.headers["location"].endswith(job["id"])
    await eventually(lambda: is_whole(fragile), 30, "the gateway is back")
    await jobs.succeeded(fragile_http, job["id"])


async def test_everything_but_the_services_may_die_at_once(fragile: Stack, fragile_http: httpx.AsyncClient) -> None:
    load = Load(fragile_http, turns=MANY_TURNS)
    await load.submit(12)
    for role in fragile.roles.values():
        role.kill()
    await eventually(lambda: is_whole(fragile), 60, "the stack is whole again")
    await load.submit(4)
    await audit(fragile, fragile_http, load)
