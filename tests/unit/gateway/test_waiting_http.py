import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

import gateway.waiters
from gateway.submissions import MAX_TRAVELLING_METADATA_BYTES
from schemas.errors import JobError, StoreUnavailable
from schemas.jobs import Status, end_of
from stores.protocols import JobKey
from tests.unit.gateway.house import BASE_URL, NOW, RESULT, SUBMIT, TENANT, House, encoded, opened, problem
from tests.waiting import LoopClock, eventually, soon

WAIT = {"prefer": "wait=60"}  # which nobody does


KEYED = WAIT | {"idempotency-key": '"key-1"'}


async def waiting(house: House, count: int = 1) -> None:
    await eventually(lambda: len(house.waiters) == count)


async def only_job(house: House) -> str:
    """The id of the one job that was sent."""
    await eventually(lambda: len(house.records()) == 1)
    return house.records()[0].id


async def test_a_submit_that_waits_gets_the_finished_job(house: House, client: httpx.AsyncClient) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    await waiting(house)
    await house.finish(await only_job(house))

    answer = await request
    assert answer.status_code == 200
    assert answer.json()["done"] is True
    assert answer.json()["result"]["outputs"][0]["data"] == [3.0]
    assert answer.headers["preference-applied"] == "wait=60"
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


@pytest.mark.parametrize("headers", [WAIT, KEYED])
async def test_an_end_that_is_told_is_answered_without_a_look_at_the_store(
    house: House, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    submit = SUBMIT | {"metadata": {"order": 7}}
    request = asyncio.create_task(client.post("/v1/jobs", json=submit, headers=headers))
    job_id = await only_job(house)
    await house.finish(job_id, tell=False)
    told = await house.job(job_id)
    house.store.down = True
    end = end_of(house.records()[0], RESULT, NOW)
    await house.signals.announce_done([JobKey(TENANT, job_id)], [end])
    answer = await request
    assert answer.status_code == 200
    house.store.down = False
    shown = await client.get(f"/v1/jobs/{job_id}")
    assert (shown.content, shown.headers["etag"]) == (answer.content, answer.headers["etag"])
    assert answer.json()["metadata"] == told.metadata == {"order": 7}


@pytest.fixture
def rows_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's end is told before its row would be written."""
    monkeypatch.setattr(gateway.waiters, "ROW_AFTER_S", 60.0)


async def test_the_row_of_a_job_that_one_request_waits_for_comes_with_its_end(
    house: House, client: httpx.AsyncClient, rows_come_late: None
) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    job_id = await only_job(house)
    assert await house.store.get(JobKey(TENANT, job_id)) is None
    await house.finish(job_id)
    assert (await request).status_code == 200
    assert (await house.job(job_id)).done


async def test_a_job_that_does_not_end_at_once_gets_its_row_and_a_result_untold_is_read(
    house: House, client: httpx.AsyncClient
) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    job_id = await only_job(house)
    house.waiters.wake(JobKey(TENANT, job_id))
    await eventually(lambda: bool(house.store.known), what="a row")
    assert (await house.job(job_id)).status is Status.QUEUED
    await house.finish(job_id, tell=False)
    await house.signals.announce_done([JobKey(TENANT, job_id)])  # as for a result too large to be told
    answer = await request
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize("size", [1, MAX_TRAVELLING_METADATA_BYTES])
async def test_metadata_that_is_too_large_to_travel_is_written_first(
    house: House, client: httpx.AsyncClient, rows_come_late: None, size: int
) -> None:
    submit = SUBMIT | {"metadata": {"text": "x" * size}}
    request = asyncio.create_task(client.post("/v1/jobs", json=submit, headers=WAIT))
    job_id = await only_job(house)
    assert bool(house.store.known) == (size > 1)
    assert (house.records()[0].metadata == {}) == (size > 1)
    await house.finish(job_id)
    assert (await request).json()["metadata"] == {"text": "x" * size}


async def test_whoever_waits_for_a_job_whose_row_cannot_be_written_is_told_that_it_is_unknown(
    house: House, client: httpx.AsyncClient, loop_clock: LoopClock
) -> None:
    house.store.down = True
    answer = await loop_clock.in_time(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    problem(answer, 503, "outcome_unknown")
    assert len(house.records()) == 1


async def test_while_the_store_is_away_a_submit_that_waits_is_refused_and_not_sent(
    house: House, client: httpx.AsyncClient
) -> None:
    house.store.down, house.store_trouble = True, "the database does not answer"
    problem(await client.post("/v1/jobs", json=SUBMIT, headers=WAIT), 503, "store_unavailable")
    assert house.records() == []


async def test_a_row_that_could_not_be_written_at_once_is_written_later(
    house: House, client: httpx.AsyncClient, loop_clock: LoopClock
) -> None:
    house.store.fail_next += [StoreUnavailable("gone")] * 2
    answer = await loop_clock.in_time(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    assert answer.status_code == 202
    assert (await house.job(answer.json()["id"])).status is Status.QUEUED


async def test_no_row_is_written_of_a_job_sent_so_long_ago_that_it_may_have_been_purged(
    house: House, client: httpx.AsyncClient, loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a gateway that stood still; the row would tell of a queued job that has ended."""
    sent_at = iter([NOW])
    monkeypatch.setattr(house.submissions, "_now", lambda: next(sent_at, NOW + timedelta(seconds=61)))
    answer = await loop_clock.in_time(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    problem(answer, 503, "outcome_unknown")
    assert len(house.records()) == 1
    assert house.store.known == []


async def test_a_submit_whose_job_does_not_come_in_time_is_accepted(
    client: httpx.AsyncClient, loop_clock: LoopClock
) -> None:
    began_s = loop_clock.now_s()
    answer = await loop_clock.in_time(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    assert answer.status_code == 202
    assert loop_clock.now_s() - began_s >= 60
    assert answer.headers["preference-applied"] == "wait=60"
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
    assert (await soon(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))).status_code == 200


async def test_lost_news_cost_a_moment_only() -> None:
    house = House(slow_s=0.01)
    async with opened(house) as client:
        request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
        await waiting(house)
        await house.finish(await only_job(house), tell=False)
        assert (await soon(request)).status_code == 200


async def test_without_news_the_store_is_asked_often(house: House, client: httpx.AsyncClient) -> None:
    house.signals.down = True
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
    await waiting(house)
    await house.finish(await only_job(house), tell=False)
    assert (await soon(request)).status_code == 200


async def test_a_store_lost_while_waiting_does_not_unaccept_the_job(house: House, client: httpx.AsyncClient) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=KEYED))
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
    assert [(await soon(submit)).status_code, (await soon(poll)).status_code] == [202, 304]
    assert (await soon(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))).status_code == 202


async def test_a_long_poll_ends_with_the_job(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    poll = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers=WAIT))
    await waiting(house)
    await house.finish(job_id)
    answer = await poll
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=60"
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


async def test_a_long_poll_with_a_tag_ends_with_304_when_time_is_up(
    house: House, client: httpx.AsyncClient, loop_clock: LoopClock
) -> None:
    job_id = await house.submitted(client)
    tag = (await client.get(f"/v1/jobs/{job_id}")).headers["etag"]
    answer = await loop_clock.in_time(client.get(f"/v1/jobs/{job_id}", headers=WAIT | {"if-none-match": tag}))
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == tag
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["preference-applied"] == "wait=60"


async def test_a_long_poll_of_an_ended_job_returns_at_once(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    tag = (await client.get(f"/v1/jobs/{job_id}", headers=WAIT)).headers["etag"]
    answer = await soon(client.get(f"/v1/jobs/{job_id}", headers=WAIT | {"if-none-match": tag}))
    assert answer.status_code == 304


async def test_whoever_leaves_is_not_waited_for(house: House, client: httpx.AsyncClient, loop_clock: LoopClock) -> None:
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
    left_s = loop_clock.now_s()
    await loop_clock.in_time(request)
    assert loop_clock.now_s() - left_s < 30
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
        submit = await soon(client.post("/v1/jobs", json=SUBMIT, headers=WAIT))
        poll = await soon(client.get(f"/v1/jobs/{job_id}", headers=WAIT))
        events = await soon(client.get(f"/v1/jobs/{job_id}/events"))
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
