"""Clients that hang up while their jobs wait: nothing of theirs is run."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import jobs
from tests.acceptance.repository import MANY_TURNS
from tests.waiting import eventually

CLIENTS = 300


def by_open_inference(ticket: int) -> tuple[str, Any]:
    tensors = [
        {"name": name, "shape": [1], "datatype": "INT64", "data": [value]}
        for name, value in (("ticket", ticket), ("turns", 1))
    ]
    return "/v2/models/tickets/infer", {"inputs": tensors}


def by_tutorial(ticket: int) -> tuple[str, Any]:
    return "/predict", {"model": "tickets", "instances": [{"ticket": ticket, "turns": 1}]}


async def statuses_behind(stack: Stack, job_id: str) -> dict[str, int]:
    """Of jobs that were submitted later."""
    connection = await asyncpg.connect(stack.postgres_dsn)
    try:
        rows = await connection.fetch(
            "select status, count(*) from jobs where model = 'tickets' and id > $1 group by status", job_id
        )
    finally:
        await connection.close()
    return {row["status"]: row["count"] for row in rows}


async def counted(url: str, metric: str) -> float:
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"{url}/metrics")).text
    found = re.findall(rf'^{metric}{{[^}}]*model="tickets"[^}}]*}} (\S+)$', page, re.MULTILINE)
    return sum(map(float, found))


@pytest.mark.parametrize("form", [by_open_inference, by_tutorial])
async def test_rows_of_clients_that_hang_up_while_they_are_queued_are_not_run(
    stack: Stack, http: httpx.AsyncClient, form: Callable[[int], tuple[str, Any]]
) -> None:
    # Given a worker that is busy for some seconds, and clients whose jobs wait behind that
    worker, gateway = stack.health_urls["worker"], stack.gateway_url
    run_before = await counted(worker, "penstock_worker_rows_total")
    saved_before = await counted(gateway, "penstock_gateway_rows_taken_back_total")
    busy = {"instances": [{"ticket": 1, "turns": 6 * MANY_TURNS}]}
    blocking = jobs.accepted(await http.post("/v1/models/tickets/jobs", json=busy))
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=gateway, limits=limits, timeout=60) as clients:
        asking = [asyncio.create_task(clients.post(url, json=body)) for url, body in map(form, range(CLIENTS))]

        async def all_wait() -> bool:
            return await statuses_behind(stack, blocking["id"]) == {"queued": CLIENTS}

        await eventually(all_wait)
        # When they hang up
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    # Then each of their jobs is canceled, and none was run
    async def all_canceled() -> bool:
        statuses = await statuses_behind(stack, blocking["id"])
        assert statuses == {"canceled": CLIENTS}, statuses
        return True

    await eventually(all_canceled)
    await jobs.succeeded(http, blocking["id"])
    behind = {"instances": [{"ticket": 2, "turns": 1}]}
    last = await http.post("/v1/models/tickets/jobs", json=behind, headers={"Prefer": "wait=30"})
    assert jobs.job_in(last)["result"] == {"predictions": [2]}
    assert await counted(worker, "penstock_worker_rows_total") - run_before == 2
    assert await counted(gateway, "penstock_gateway_rows_taken_back_total") - saved_before == CLIENTS
