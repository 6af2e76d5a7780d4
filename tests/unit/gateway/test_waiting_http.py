import asyncio
from typing import Any

import httpx
import pytest

from schemas.errors import JobError, StoreUnavailable
from schemas.jobs import Status
from stores.protocols import JobKey
from tests.unit.gateway.house import BASE_URL, NOW, SUBMIT, TENANT, House, encoded, opened, problem
from tests.waiting import eventually

WAIT = {"prefer": "wait=10"}


async def waiting(house: House, count: int = 1) -> None:
    await eventually(lambda: len(house.waiters) == count)


async def only_job(house: House) -> str:
    (job,) = await house.store.list(TENANT, after=None, limit=2, status=None)
    return job.id


async def test_a_submit_that_waits_gets_the_finished_job(house: House, client: httpx.AsyncClient) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    await waiting(house)
    await house.finish(await only_job(house))

    answer = await request
    assert answer.status_code == 200
    assert answer.json()["done"] is True
    assert answer.json()["result"]["outputs"][0]["data"] == [3.0]
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.headers["content-location"] == f"{BASE_URL}/v1/jobs/{answer.json()['id']}"
    assert answer.headers["etag"]
    assert not {"location", "operation-location", "retry-after"} & set(answer.headers)
    assert len(house.waiters) == 0


async def test_a_submit_that_waits_gets_a_failed_job_too(house: House, client: httpx.AsyncClient) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    await waiting(house)
    await house.fail(await only_job(house), JobError("the model raised").body())
    answer = await request
    assert (answer.status_code, answer.json()["error"]["message"]) == (200, "the model raised")


async def test_a_submit_whose_job_does_not_come_in_time_is_accepted(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs", json=SUBMIT, headers={"prefer": "wait=1"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert answer.headers["operation-location"]
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "wait=soon", "return=minimal"])
async def test_a_submit_that_need_not_wait_is_answered_at_once(
    house: House, client: httpx.AsyncClient, prefer: str
) -> None:
    answer = await client.post("/v1/jobs", json=SUBMIT, headers={"prefer": prefer})
    assert answer.status_code == 202
    applied = prefer if prefer in ("respond-async", "wait=0") else None
    assert answer.headers.get("preference-applied") == applied


async def test_a_job_done_before_its_acknowledgement_is_not_missed(house: House, client: httpx.AsyncClient) -> None:
    publish = house.log.publish

    async def publish_and_finish(record: object) -> None:
        await publish(record)  # type: ignore[arg-type]
        await house.finish(await only_job(house))

    house.log.publish = publish_and_finish  # type: ignore[method-assign]
    async with asyncio.timeout(2):
        assert (await client.post("/v1/jobs", json=SUBMIT, headers=WAIT)).status_code == 200


async def test_lost_news_cost_a_moment_only() -> None:
    house = House(slow_s=0.01)
    async with opened(house) as client:
        request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
        await waiting(house)
        await house.finish(await only_job(house), tell=False)
        async with asyncio.timeout(2):
            assert (await request).status_code == 200


async def test_without_news_the_store_is_asked_often(house: House, client: httpx.AsyncClient) -> None:
    house.signals.down = True
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    await waiting(house)
    await house.finish(await only_job(house), tell=False)
    async with asyncio.timeout(2):
        assert (await request).status_code == 200


async def test_a_store_lost_while_waiting_does_not_unaccept_the_job(house: House, client: httpx.AsyncClient) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    await waiting(house)
    job_id = await only_job(house)
    house.store.fail_next.append(StoreUnavailable("gone"))
    house.waiters.wake(JobKey(TENANT, job_id))
    assert (await request).status_code == 202


async def test_at_a_stop_whoever_waits_is_answered_now(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    tag = (await client.get(f"/v1/jobs/{job_id}")).headers["etag"]
    submit = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    poll = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers=WAIT | {"if-none-match": tag}))
    await waiting(house, 2)
    house.waiters.drain()
    async with asyncio.timeout(2):
        assert [(await submit).status_code, (await poll).status_code] == [202, 304]
        assert (await client.post("/v1/jobs", json=SUBMIT, headers=WAIT)).status_code == 202


async def test_a_long_poll_ends_with_the_job(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    poll = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers=WAIT))
    await waiting(house)
    await house.finish(job_id)
    answer = await poll
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=10"
    assert "retry-after" not in answer.headers


async def test_a_long_poll_with_a_tag_ends_at_any_change(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    tag = (await client.get(f"/v1/jobs/{job_id}")).headers["etag"]
    poll = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers=WAIT | {"if-none-match": tag}))
    await waiting(house)
    await house.store.mark_running([JobKey(TENANT, job_id)], NOW)
    house.waiters.wake(JobKey(TENANT, job_id))
    answer = await poll
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert answer.headers["etag"] != tag


async def test_a_long_poll_with_a_tag_ends_with_304_when_time_is_up(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    tag = (await client.get(f"/v1/jobs/{job_id}")).headers["etag"]
    answer = await client.get(f"/v1/jobs/{job_id}", headers={"prefer": "wait=1", "if-none-match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == tag
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["preference-applied"] == "wait=1"


async def test_a_long_poll_of_an_ended_job_returns_at_once(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    tag = (await client.get(f"/v1/jobs/{job_id}", headers=WAIT)).headers["etag"]
    async with asyncio.timeout(2):
        answer = await client.get(f"/v1/jobs/{job_id}", headers=WAIT | {"if-none-match": tag})
    assert answer.status_code == 304


async def test_whoever_leaves_is_not_waited_for(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    left = asyncio.Event()

    async def receive() -> dict[str, object]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        pass

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/v1/jobs/{job_id}",
        "query_string": b"",
        "headers": [(b"prefer", b"wait=60")],
    }
    request = asyncio.create_task(house.app(scope, receive, send))
    await waiting(house)
    left.set()
    await asyncio.wait_for(request, 2)
    assert len(house.waiters) == 0


async def test_a_canceled_job_ends_the_wait(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    poll = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers=WAIT))
    await waiting(house)
    await client.post(f"/v1/jobs/{job_id}/cancel")
    assert (await poll).json()["status"] == Status.CANCELED


async def test_beyond_the_limit_nobody_waits() -> None:
    house = House(gateway_max_waiters=1)
    async with opened(house) as client:
        job_id = await house.submitted(client)
        first = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers=WAIT))
        await waiting(house)
        async with asyncio.timeout(2):
            submit = await client.post("/v1/jobs", json=SUBMIT, headers=WAIT)
            poll = await client.get(f"/v1/jobs/{job_id}", headers=WAIT)
            events = await client.get(f"/v1/jobs/{job_id}/events")
        assert [submit.status_code, poll.status_code, poll.json()["done"]] == [202, 200, False]
        assert "preference-applied" not in submit.headers
        assert "preference-applied" not in poll.headers
        problem(events, 503, "unavailable")
        await house.finish(job_id)
        assert (await first).json()["done"] is True


async def test_nobody_listens_for_the_end_of_a_connection_while_the_wait_is_short(house: House) -> None:
    asked = 0

    async def receive() -> dict[str, object]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": encoded(SUBMIT)}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "query_string": b"",
        "headers": [(b"prefer", b"wait=60")],
    }
    async with opened(house):
        request = asyncio.create_task(house.app(scope, receive, send))
        await waiting(house)
        await eventually(lambda: bool(house.records()))
        await house.finish(house.records()[0].id)
        await request
    assert sent[0]["status"] == 200
    assert asked == 1, "for the body"
