"""Workers that end in the middle of a micro-batch: what they had begun is done again, and shown once."""

import asyncio

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance.chaos.audit import audit, until_running
from tests.acceptance.chaos.load import Load
from tests.acceptance.repository import MANY_TURNS
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_worker_that_is_told_to_stop_finishes_what_it_has_begun(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    # Given one worker, with micro-batches that take their time
    await fragile.role("worker-2").stop()
    load = Load(fragile_http, turns=MANY_TURNS)
    await load.submit(24)
    await until_running(fragile, load)
    # When it is told to stop, and another one comes
    worker = fragile.role("worker-1")
    ended = asyncio.create_task(worker.wait())
    worker.terminate()
    await fragile.role("worker-2").start()
    # Then it ends in good order, and every job has been run once
    assert await ended == 0
    found = await audit(fragile, fragile_http, load)
    assert found.repeated == 0


async def test_a_worker_that_is_killed_loses_nothing(fragile: Stack, fragile_http: httpx.AsyncClient) -> None:
    loads = []
    for victims in (["worker-1"], ["worker-2"], ["worker-1", "worker-2"]):
        await eventually(lambda: fragile.role("worker-1").running and fragile.role("worker-2").running, 30)
        load = Load(fragile_http, turns=MANY_TURNS)
        loads.append(load)
        await load.submit(8)
        await until_running(fragile, load)
        for victim in victims:
            fragile.role(victim).kill()
    for load in loads:
        found = await audit(fragile, fragile_http, load)
        assert found.jobs == 8
