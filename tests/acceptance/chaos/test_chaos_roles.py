"""Roles that end while somebody waits for them."""

import asyncio
import time

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import jobs
from tests.acceptance.chaos.audit import audit, jobs_of, until_running
from tests.acceptance.chaos.load import Load
from tests.acceptance.chaos.outage import hanging
from tests.acceptance.chaos.wholeness import is_whole
from tests.acceptance.client import client_of
from tests.acceptance.repository import MANY_TURNS
from tests.acceptance.role_logs import LOGS
from tests.waiting import eventually

REQUESTS = 20

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_gateway_that_stops_lets_its_waiters_go_with_a_job_to_poll(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    # Given a client that waits for a slow job, at a gateway that it knows: of the shared port the system chooses one
    async with client_of(fragile.gateway_urls[0], timeout_s=60) as at_the_first:
        load = Load(at_the_first, turns=3 * MANY_TURNS)
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


async def test_retries_with_the_keys_of_a_dead_gateway_are_answered_by_another_at_their_first_try(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    first, second = fragile.gateway_urls
    async with client_of(first) as at_the_first, client_of(second) as at_the_second:
        load = Load(at_the_first, at_the_second)
        numbers = range(0, 2 * REQUESTS, 2)  # the first gateway's turn
        # Given requests under way there: they have their keys, and Kafka takes its time
        with hanging(fragile.kafka):
            asked = [asyncio.create_task(load.attempt(number, wait_s=0)) for number in numbers]
            await eventually(lambda: has_rows(fragile, load, REQUESTS), 30, "all keys are held")
            # When it is killed
            fragile.role("gateway").kill()
            assert all(isinstance(answer, httpx.TransportError) for answer in await asyncio.gather(*asked))
        # Then nobody is told to come back: the other waits until the leases are over, and sends what perhaps was not
        began_s = time.monotonic()
        answers = await asyncio.gather(*(load.attempt(number, wait_s=0, turn=1) for number in numbers))
        LOGS.announce(f"answered by another gateway after {time.monotonic() - began_s:.2f} s at most")
        for number, answer in zip(numbers, answers, strict=True):
            assert isinstance(answer, httpx.Response)
            load.accepted[number] = jobs.accepted(answer)["id"]
        await eventually(lambda: is_whole(fragile), 60, "the gateway is back")
        await audit(fragile, fragile_http, load)


async def has_rows(stack: Stack, load: Load, count: int) -> bool:
    return await jobs_of(stack, load) == count


async def test_everything_but_the_services_may_die_at_once(fragile: Stack, fragile_http: httpx.AsyncClient) -> None:
    load = Load(fragile_http, turns=MANY_TURNS)
    await load.submit(12)
    for role in fragile.roles.values():
        role.kill()
    await eventually(lambda: is_whole(fragile), 60, "the stack is whole again")
    await load.submit(4)
    await audit(fragile, fragile_http, load)
