"""However long Postgres or Kafka take, a submit is answered in time, and what was refused is taken back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock

import httpx
import msgspec
import pytest

import gateway.leases
from gateway.submission import Submission
from schemas.catalog import encode_entry, version_key
from schemas.errors import OutcomeUnknown, QueueUnavailable, StoreUnavailable
from schemas.oip import parse_request
from schemas.routes import WHOLE
from stores.protocols import Admission
from tests.unit.gateway.house import LIVE, NOW, SUBMIT, VECTOR, House, entry, opened, problem
from tests.unit.gateway.test_routed_submits_http import apply, route
from tests.waiting import LoopClock, eventually, soon

KEY = {"idempotency-key": "order-17"}


ANSWERED_WITHIN_S = 60.0


class Held:
    """A call of the house's parts that waits until it is let go."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *given: Any, **named: Any) -> Any:
        self.entered.set()
        await self.go_on.wait()
        return await self.call(*given, **named)


@asynccontextmanager
async def holding(house: House, part: object, name: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    """Calls of a part of the house, held back; they go on when the test is over."""
    held = Held(getattr(part, name))
    monkeypatch.setattr(part, name, held)
    yield held
    held.go_on.set()
    await house.submissions.drain()


def keep_time(house: House, clock: LoopClock) -> None:
    """Leases of keys run out by the loop's clock."""
    began_s = clock.now_s()
    house.store._clock = lambda: NOW + timedelta(seconds=clock.now_s() - began_s)


async def refused_late(client: httpx.AsyncClient, held: Held, clock: LoopClock, headers: Any = None) -> None:
    """A submit that is held up for as long as it may take."""
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=headers))
    await held.entered.wait()
    clock.pass_s(ANSWERED_WITHIN_S)
    problem(await soon(request), 503, "outcome_unknown")


@pytest.fixture
async def publishing(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    async with holding(house, house.log, "publish", monkeypatch) as held:
        yield held


@pytest.fixture
async def writing(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    async with holding(house, house.store, "insert", monkeypatch) as held:
        yield held


async def test_a_queue_that_never_answers_does_not_keep_a_submit_waiting(
    house: House, client: httpx.AsyncClient, publishing: Held, loop_clock: LoopClock
) -> None:
    await refused_late(client, publishing, loop_clock)
    publishing.go_on.set()
    await house.submissions.drain()
    (job,) = (await client.get("/v1/jobs")).json()["data"]
    assert [record.id for record in house.records()] == [job["id"]], "both were written after all"


async def test_a_row_that_came_too_late_is_not_sent_and_taken_back(
    house: House, client: httpx.AsyncClient, writing: Held, loop_clock: LoopClock
) -> None:
    await refused_late(client, writing, loop_clock)
    writing.go_on.set()
    await house.submissions.drain()
    assert house.records() == []
    assert (await client.get("/v1/jobs")).json()["data"] == []
    assert house.depths.depth(LIVE) == 0


async def test_a_row_that_is_written_behind_a_refusal_is_taken_back(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock
) -> None:
    insert = house.store.insert

    async def insert_and_hang(*given: Any) -> None:
        await insert(*given)
        loop_clock.pass_s(ANSWERED_WITHIN_S)
        await asyncio.Event().wait()

    monkeypatch.setattr(house.store, "insert", insert_and_hang)
    problem(await soon(client.post("/v1/jobs", json=SUBMIT)), 503, "outcome_unknown")
    await house.submissions.drain()
    assert (await client.get("/v1/jobs")).json()["data"] == []
    assert house.depths.depth(LIVE) == 0


async def test_a_record_that_cannot_be_sent_behind_a_refusal_has_no_row_left(
    house: House, client: httpx.AsyncClient, publishing: Held, loop_clock: LoopClock
) -> None:
    await refused_late(client, publishing, loop_clock)
    house.log.fail_next.append(QueueUnavailable("gone"))
    publishing.go_on.set()
    await house.submissions.drain()
    assert (await client.get("/v1/jobs")).json()["data"] == []
    assert house.records() == []
    assert house.depths.depth(LIVE) == 0


async def test_a_key_whose_release_takes_too_long_is_released_behind_the_answer(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock
) -> None:
    confirming = Held(house.store.confirm)
    monkeypatch.setattr(house.store, "confirm", confirming)
    await refused_late(client, confirming, loop_clock, KEY)
    confirming.go_on.set()
    await house.submissions.drain()
    again = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    assert again.headers["idempotency-replayed"] == "true"
    assert [record.id for record in house.records()] == [again.json()["id"]]


async def test_a_key_stays_held_for_as_long_as_its_request_is_under_way(
    house: House, client: httpx.AsyncClient, publishing: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.leases, "KEY_RENEWED_EVERY_S", 0.01)
    renewals = 0
    renew = house.store.renew

    async def counted(*given: Any) -> None:
        nonlocal renewals
        renewals += 1
        await renew(*given)

    monkeypatch.setattr(house.store, "renew", counted)
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    await eventually(lambda: renewals >= 3)
    publishing.go_on.set()
    await request
    await house.submissions.drain()
    again = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_same_key_while_the_first_is_under_way_gets_its_answer(
    house: House, client: httpx.AsyncClient, publishing: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    await publishing.entered.wait()
    asking = Held(house.store.insert)
    monkeypatch.setattr(house.store, "insert", asking)
    again = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    await asking.entered.wait()
    asking.go_on.set()
    publishing.go_on.set()
    assert (await again).json() == (await first).json()
    assert (await again).headers["idempotency-replayed"] == "true"
    assert len(house.records()) == 1


async def test_the_same_key_is_a_conflict_if_the_first_is_under_way_for_longer_than_a_lease(
    house: House, client: httpx.AsyncClient, publishing: Held, loop_clock: LoopClock
) -> None:
    keep_time(house, loop_clock)
    first = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    await publishing.entered.wait()
    conflict = await loop_clock.in_time(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    problem(conflict, 409, "request_in_flight")
    assert conflict.headers["retry-after"] == "1"
    publishing.go_on.set()
    again = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    assert again.json() == (await first).json()


async def test_the_same_key_is_answered_when_the_lease_of_a_gateway_that_is_gone_is_over(
    house: House,
    client: httpx.AsyncClient,
    publishing: Held,
    monkeypatch: pytest.MonkeyPatch,
    loop_clock: LoopClock,
) -> None:
    keep_time(house, loop_clock)
    gone = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    await publishing.entered.wait()
    monkeypatch.setattr(house.log, "publish", publishing.call)
    monkeypatch.setattr(house.store, "renew", AsyncMock())  # it renews nothing more
    (job_id,) = {key.id for key in house.store.known}
    answer = await loop_clock.in_time(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    assert (answer.status_code, answer.json()["id"]) == (202, job_id)
    assert "idempotency-replayed" not in answer.headers  # nobody could know whether it had been sent
    assert not gone.done()
    publishing.go_on.set()
    await gone


async def test_the_job_of_a_gateway_that_is_gone_is_made_for_its_version_whatever_the_route_says_by_then(
    house: House,
    client: httpx.AsyncClient,
    publishing: Held,
    monkeypatch: pytest.MonkeyPatch,
    loop_clock: LoopClock,
) -> None:
    keep_time(house, loop_clock)
    turned = msgspec.structs.replace(VECTOR, features=VECTOR.features[::-1])
    house.serving.catalog.apply(version_key("vector", "1"), encode_entry(entry("vector", "1", turned)))
    body = {"model": "vector", "input": {"features": {"age": 35.0, "height": 180.0}}}
    gone = asyncio.create_task(client.post("/v1/jobs", json=body, headers=KEY))
    await publishing.entered.wait()
    monkeypatch.setattr(house.log, "publish", publishing.call)
    monkeypatch.setattr(house.store, "renew", AsyncMock())  # it renews nothing more

    apply(house, route({"1": WHOLE}))
    assert (await loop_clock.in_time(client.post("/v1/jobs", json=body, headers=KEY))).status_code == 202
    (sent,) = house.records(LIVE)
    assert parse_request(VECTOR, sent.payload).inputs["x"].tolist() == [[35.0, 180.0]]
    publishing.go_on.set()
    await gone


async def test_a_store_that_fails_to_renew_does_not_hurt_the_submit(
    house: House, client: httpx.AsyncClient, publishing: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.leases, "KEY_RENEWED_EVERY_S", 0.01)
    failed = asyncio.Event()

    async def fail(*_: Any) -> None:
        failed.set()
        raise StoreUnavailable("gone")

    monkeypatch.setattr(house.store, "renew", fail)
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    await failed.wait()
    publishing.go_on.set()
    assert (await request).status_code == 202


async def test_what_was_perhaps_written_is_taken_back_twice(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may carry the statement out behind the first withdrawal."""
    given_back: list[Any] = []
    withdraw, insert = house.store.withdraw, house.store.insert

    async def withdraw_then_write(job: Any, key: Any = None) -> None:
        await withdraw(job, key)
        if not given_back:
            await insert(job, key)
        given_back.append(job.id)

    async def lose(*_: Any) -> Any:
        raise StoreUnavailable("no answer in time", perhaps_done=True)

    monkeypatch.setattr(house.store, "withdraw", withdraw_then_write)
    monkeypatch.setattr(house.store, "insert", lose)
    problem(await client.post("/v1/jobs", json=SUBMIT), 503, "store_unavailable")
    await house.submissions.drain()
    assert len(given_back) == 2
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_what_was_certainly_not_written_is_not_taken_back(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        pytest.fail("there is nothing to take back")

    monkeypatch.setattr(house.store, "withdraw", fail)
    house.store.fail_next.append(StoreUnavailable("gone"))
    problem(await client.post("/v1/jobs", json=SUBMIT), 503, "store_unavailable")
    await house.submissions.drain()


@pytest.mark.parametrize(
    ("failure", "depth"), [(QueueUnavailable("gone"), 0), (RuntimeError("ours"), 0), (OutcomeUnknown("no answer"), 1)]
)
async def test_a_lane_does_not_count_what_was_certainly_not_sent(
    house: House, client: httpx.AsyncClient, failure: Any, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Any) -> None:
        raise failure

    monkeypatch.setattr(house.log, "publish", fail)
    assert (await client.post("/v1/jobs", json=SUBMIT)).status_code >= 500
    assert house.depths.depth(LIVE) == depth


async def test_a_lane_does_not_count_what_the_store_refused(house: House, client: httpx.AsyncClient) -> None:
    house.store.fail_next.append(StoreUnavailable("gone"))
    await client.post("/v1/jobs", json=SUBMIT)
    assert house.depths.depth(LIVE) == 0


async def test_a_lane_counts_a_request_that_is_said_twice_once(house: House, client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    assert house.depths.depth(LIVE) == 1


async def test_stopping_waits_for_what_is_half_done_no_longer_than_it_may(
    house: House, publishing: Held, loop_clock: LoopClock
) -> None:
    async with opened(house) as client:
        await refused_late(client, publishing, loop_clock)
        await soon(house.submissions.drain(0.05))


async def test_a_waiting_submit_is_answered_although_the_store_hangs(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock
) -> None:
    monkeypatch.setattr(house.store, "get", Held(house.store.get))
    answer = await loop_clock.in_time(client.post("/v1/jobs", json=SUBMIT, headers={"prefer": "wait=1"}))
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


async def test_the_time_that_an_input_waits_to_be_read_counts_as_well(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock
) -> None:
    monkeypatch.setattr("gateway.submissions.INLINE_BYTES", 0)
    reading = Held(house.submissions._reader.run)
    monkeypatch.setattr(house.submissions._reader, "run", reading)
    await refused_late(client, reading, loop_clock)
    reading.go_on.set()
    await house.submissions.drain()
    assert not house.records()


async def test_a_row_that_hangs_does_not_keep_a_client_longer_than_it_asked_for(
    house: House, client: httpx.AsyncClient, writing: Held, loop_clock: LoopClock
) -> None:
    request = client.post("/v1/jobs", json=SUBMIT, headers={"prefer": "wait=1"})
    problem(await loop_clock.in_time(request), 503, "outcome_unknown")
    assert writing.entered.is_set()


async def test_an_end_told_while_the_row_hangs_is_answered_at_once(
    house: House, client: httpx.AsyncClient, writing: Held
) -> None:
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers={"prefer": "wait=60"}))
    await soon(writing.entered.wait())
    (job,) = house.records()
    await house.finish(job.id)
    answer = await soon(request)
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


async def test_a_client_that_waits_holds_nothing_of_its_input(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Submission] = []
    submit = house.submissions.submit

    async def watched(submission: Submission) -> Admission:
        seen.append(submission)
        return await submit(submission)

    monkeypatch.setattr(house.submissions, "submit", watched)
    request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers={"prefer": "wait=60"}))
    await eventually(lambda: bool(house.records()))
    assert not hasattr(seen[0], "submit")
    await house.finish(house.records()[0].id)
    assert (await request).status_code == 200
