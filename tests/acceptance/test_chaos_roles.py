"""Gateway, router and sink that end while jobs are coming: clients try again, and nothing is lost or done twice."""

import asyncio
import json
import uuid

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import jobs, kafka
from tests.acceptance.audit import TOPICS, all_succeeded, audit, until_running
from tests.acceptance.load import Load
from tests.acceptance.repository import MANY_TURNS
from tests.acceptance.wholeness import is_whole
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_gateway_that_restarts_under_load_loses_no_accepted_job(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    load = Load(fragile_http)
    async with load.going_on():
        await load.more(50)
        await fragile.role("gateway").restart()
        await load.more(50)
    assert load.attempts > len(load.accepted)  # somebody had to try again
    await audit(fragile, fragile_http, load)


async def test_a_gateway_that_stops_lets_its_waiters_go_with_a_job_to_poll(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    # Given a client that waits for a slow job
    load = Load(fragile_http, turns=2 * MANY_TURNS)
    gateway = fragile.role("gateway")
    waiting = asyncio.create_task(load.attempt(0, wait_s=60))
    await until_running(fragile, load)
    # When the gateway is told to stop
    gateway.terminate()
    # Then the client is not left alone, and finds its job at the next one
    answer = await waiting
    assert isinstance(answer, httpx.Response)
    job = jobs.accepted(answer)
    assert answer.headers["location"].endswith(job["id"])
    await eventually(lambda: is_whole(fragile), 30, "the gateway is back")
    await jobs.succeeded(fragile_http, job["id"])


async def test_a_gateway_and_a_sink_that_are_killed_under_load_lose_nothing(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    # A key whose request died with its gateway is held for half a minute: that is how long this takes.
    load = Load(fragile_http)
    async with load.going_on():
        await load.more(50)
        fragile.role("gateway").kill()
        await load.more(30)
        fragile.role("sink").kill()
        await load.more(30)
    assert load.attempts > len(load.accepted)  # somebody had to try again
    await audit(fragile, fragile_http, load)


async def test_a_router_that_is_killed_loses_no_record(fragile: Stack, fragile_http: httpx.AsyncClient) -> None:
    # Given records of a direct producer, and a router that is killed while it reads them
    ids = [f"direct-{uuid.uuid4().hex}" for _ in range(300)]
    records = [
        kafka.Said(
            json.dumps({"instances": [{"ticket": number, "turns": 0}]}).encode(), {"ce_id": job_id, "model": "tickets"}
        )
        for number, job_id in enumerate(ids)
    ]
    for part in (records[:100], records[100:200], records[200:]):
        await asyncio.to_thread(kafka.send_all, fragile.kafka_bootstrap_servers, TOPICS.requests, part)
        if part[-1] is not records[-1]:
            await eventually(lambda: fragile.role("router").running)
            fragile.role("router").kill()
    # Then each becomes one job with its own result
    await eventually(lambda: all_succeeded(fragile, ids), 60, "every record has become a job that succeeded")
    for number, job_id in enumerate(ids):
        job = await jobs.read(fragile_http, job_id)
        assert job["result"] == {"predictions": [number]}


async def test_everything_but_the_services_may_die_at_once(fragile: Stack, fragile_http: httpx.AsyncClient) -> None:
    load = Load(fragile_http, turns=MANY_TURNS)
    await load.submit(24)
    for role in fragile.roles.values():
        role.kill()
    await eventually(lambda: is_whole(fragile), 60, "the stack is whole again")
    await load.submit(8)
    await audit(fragile, fragile_http, load)
