"""The road of all facades: whoever waits no more leaves no job behind."""

import asyncio
from typing import Any

import httpx
import pytest

from schemas.jobs import Status
from tests.unit.gateway.facades.asking import INPUT, URL, sent
from tests.unit.gateway.house import House, opened
from tests.waiting import eventually, soon


async def canceled(house: House, job_id: str) -> None:
    """Return once workers and store know that a job is canceled."""
    await eventually(lambda: job_id in {key.id for key, _ in house.signals.cancels})

    async def is_canceled() -> bool:
        return (await house.job(job_id)).status is Status.CANCELED

    await eventually(is_canceled)


async def test_a_job_that_does_not_end_in_time_is_taken_back(house: House, client: httpx.AsyncClient) -> None:
    asking = asyncio.create_task(client.post(URL, json=INPUT))
    job_id = await sent(house)
    job = house.records()[-1]
    assert (job.expires_at - job.created_at).total_seconds() == house.settings.gateway_sync_timeout_s
    assert not asking.done()
    asking.cancel()
    await canceled(house, job_id)


async def test_who_waits_for_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(gateway_sync_timeout_s=1)
    async with opened(house) as client:
        answer = await soon(client.post(URL, json=INPUT))
        assert (answer.status_code, answer.json()) == (
            504,
            {"error": "the job has not ended in time, and was canceled"},
        )
        await canceled(house, house.records()[-1].id)


async def test_a_gateway_that_stops_takes_the_jobs_of_its_callers_back(house: House, client: httpx.AsyncClient) -> None:
    asking = asyncio.create_task(client.post(URL, json=INPUT))
    job_id = await sent(house)
    house.waiters.drain()
    answer = await soon(asking)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    await canceled(house, job_id)


async def test_where_nobody_may_wait_nothing_is_sent(house: House, client: httpx.AsyncClient) -> None:
    house.waiters.drain()
    answer = await soon(client.post(URL, json=INPUT))
    assert answer.status_code == 503
    assert house.records() == []


async def test_a_request_that_comes_again_with_its_key_is_answered_by_the_same_job(
    house: House, client: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = asyncio.create_task(client.post(URL, json=INPUT, headers=headers))
    job_id = await sent(house)
    await house.finish(job_id)
    again = await soon(client.post(URL, json=INPUT, headers=headers))
    assert again.json() == (await first).json()
    assert len(house.records()) == 1
    assert house.signals.cancels == []


async def test_who_asks_again_and_hangs_up_takes_nothing_from_the_first(
    house: House, client: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = asyncio.create_task(client.post(URL, json=INPUT, headers=headers))
    job_id = await sent(house)
    again = asyncio.create_task(client.post(URL, json=INPUT, headers=headers))
    await eventually(lambda: len(house.waiters) > 2)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    await house.finish(job_id)
    assert (await soon(first)).status_code == 200
    assert house.signals.cancels == []


@pytest.mark.parametrize("body", [{"inputs": 1}, {}, [], "x"])
async def test_what_is_refused_has_no_job(house: House, client: httpx.AsyncClient, body: Any) -> None:
    assert (await client.post(URL, json=body)).status_code == 400
    assert (house.records(), len(house.waiters)) == ([], 0)


async def test_who_hangs_up_and_asks_again_with_its_key_is_answered(house: House, client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = asyncio.create_task(client.post(URL, json=INPUT, headers=headers))
    job_id = await sent(house)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = asyncio.create_task(client.post(URL, json=INPUT, headers=headers))
    await house.finish(job_id)
    assert (await soon(again)).status_code == 200
    assert house.signals.cancels == []
