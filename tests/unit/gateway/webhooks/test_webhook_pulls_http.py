"""Events for receivers that come for them: claimed, waited for, renewed, acknowledged."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from gateway.client_gone import CLIENT_GONE
from schemas.jobs import Payload
from schemas.signing import check_signature
from stores.protocols import JobKey
from tests.unit.gateway.house import OTHER_KEYS, House, opened, problem
from tests.unit.gateway.webhooks.test_webhook_deliveries_http import listed
from tests.unit.gateway.webhooks.test_webhook_endpoints_http import URL, created, ended
from tests.waiting import LoopClock, eventually, soon


async def pulled(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """An endpoint whose events are pulled."""
    return await created(client, **{"mode": "pull", "url": None} | fields)


async def claimed(client: httpx.AsyncClient, endpoint: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    answer = await client.post(f"{URL}/{endpoint['id']}/events:claim", json=fields)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def told(
    client: httpx.AsyncClient, endpoint: dict[str, Any], verb: str, *events: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    leases = [{"id": event["id"], "lease": event["lease"]} for event in events]
    answer = await client.post(f"{URL}/{endpoint['id']}/events:{verb}", json={"events": leases} | fields)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


class Receiver:
    """A client of a claim at the level of ASGI, which can hang up."""

    def __init__(self, house: House, endpoint: dict[str, Any], **fields: Any) -> None:
        self.left = asyncio.Event()
        self.status: int | None = None
        self._bodies = [orjson.dumps(fields)]
        path = f"{URL}/{endpoint['id']}/events:claim"
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
        self.task = asyncio.create_task(house.app(scope, self.receive, self.send))

    async def receive(self) -> Any:
        if self._bodies:
            return {"type": "http.request", "body": self._bodies.pop(), "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]


async def test_an_event_comes_as_it_would_be_sent_and_is_gone_once_acknowledged(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await pulled(client)
    job_id = await ended(house, client)
    (event,) = await claimed(client, endpoint)
    assert (event["object"], event["type"], event["subject"], event["revision"]) == (
        "webhook_event",
        "job.succeeded",
        job_id,
        3,
    )
    body = event["body"].encode()
    check_signature(event["headers"], body, [endpoint["signing_secret"]], house.now)
    document = orjson.loads(body)
    assert (document["id"], document["type"], document["data"]["id"]) == (event["id"], "job.succeeded", job_id)
    assert document["data"]["result"]["outputs"][0]["data"] == [3.0]
    assert event["headers"]["content-type"] == "application/json"
    assert await claimed(client, endpoint) == [], "it is leased"
    done = await told(client, endpoint, "ack", event)
    assert done == {"object": "webhook_leases", "done": [event["id"]], "lost": []}
    (delivery,) = await listed(client)
    assert (delivery["state"], delivery["tried"]) == ("delivered", 1)
    assert (await told(client, endpoint, "ack", event))["lost"] == [event["id"]]


async def test_a_lease_that_is_over_gives_the_event_to_another(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    await ended(house, client)
    (first,) = await claimed(client, endpoint, lease_s=10)
    house.now += timedelta(seconds=9)
    assert (await told(client, endpoint, "renew", first, lease_s=10))["done"] == [first["id"]]
    house.now += timedelta(seconds=9)
    assert await claimed(client, endpoint) == []
    house.now += timedelta(seconds=1)
    (second,) = await claimed(client, endpoint)
    assert (second["id"], second["lease"] == first["lease"]) == (first["id"], False)
    assert (await told(client, endpoint, "ack", first))["lost"] == [first["id"]]
    assert (await told(client, endpoint, "renew", first))["lost"] == [first["id"]]
    assert (await told(client, endpoint, "ack", second))["done"] == [second["id"]]


async def test_as_many_come_as_are_asked_for_the_oldest_first(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    jobs = []
    for _ in range(12):
        jobs.append(await ended(house, client))
        house.now += timedelta(seconds=1)
    assert [event["subject"] for event in await claimed(client, endpoint, limit=1)] == jobs[:1]
    assert [event["subject"] for event in await claimed(client, endpoint, limit=100)] == jobs[1:]


async def test_a_claim_that_waits_is_answered_once_something_is_due(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    waiting = asyncio.create_task(claimed(client, endpoint, wait_s=30))
    await eventually(lambda: len(house.waiters) == 1)
    job_id = await ended(house, client)
    (event,) = await soon(waiting)
    assert event["subject"] == job_id
    assert len(house.waiters) == 0


async def test_a_claim_that_waited_for_nothing_is_answered_with_nothing(client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    assert await LoopClock().in_time(claimed(client, endpoint, wait_s=30)) == []


async def test_of_two_that_wait_each_event_goes_to_one(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    waiting = [asyncio.create_task(claimed(client, endpoint, wait_s=30, limit=1)) for _ in range(2)]
    await eventually(lambda: len(house.waiters) == 2)
    jobs = {await ended(house, client), await ended(house, client)}
    found = [event["subject"] for events in await soon(asyncio.gather(*waiting)) for event in events]
    assert set(found) == jobs


async def test_of_many_that_wait_as_many_are_woken_as_there_is_something_for(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await pulled(client)
    waiting = [asyncio.create_task(claimed(client, endpoint, wait_s=30, limit=2)) for _ in range(20)]
    await eventually(lambda: len(house.waiters) == 20)
    pull, pulls = house.pulled.pull, itertools.count()

    async def counted(*arguments: Any, **fields: Any) -> Any:
        next(pulls)
        return await pull(*arguments, **fields)

    monkeypatch.setattr(house.pulled, "pull", counted)
    for _ in range(6):
        await ended(house, client)

    async def all_are_claimed() -> bool:
        return all(delivery["tried"] for delivery in await listed(client))

    await eventually(all_are_claimed)
    asked = next(pulls)
    house.waiters.drain()
    assert sum([len(events) for events in await soon(asyncio.gather(*waiting))]) == 6
    assert 3 <= asked <= 8


async def test_who_hangs_up_while_it_waits_has_claimed_nothing(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    receiver = Receiver(house, endpoint, wait_s=30)
    await eventually(lambda: len(house.waiters) == 1)
    receiver.left.set()
    await soon(receiver.task)
    assert (receiver.status, len(house.waiters)) == (CLIENT_GONE, 0)
    await ended(house, client)
    (event,) = await claimed(client, endpoint)
    assert (await listed(client))[0]["tried"] == 1, event


async def test_what_was_claimed_for_one_who_hung_up_meanwhile_is_given_back(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await pulled(client)
    receiver = Receiver(house, endpoint, wait_s=30)
    await eventually(lambda: len(house.waiters) == 1)
    pull = house.pulled.pull

    async def leave(*arguments: Any, **fields: Any) -> Any:
        claims = await pull(*arguments, **fields)
        if claims:
            receiver.left.set()
            await asyncio.wait([asyncio.create_task(receiver.receive())])
        return claims

    monkeypatch.setattr(house.pulled, "pull", leave)
    await ended(house, client)
    await soon(receiver.task)
    assert receiver.status == CLIENT_GONE
    monkeypatch.undo()
    assert len(await claimed(client, endpoint)) == 1


async def test_a_gateway_that_stops_answers_those_who_wait(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    waiting = asyncio.create_task(claimed(client, endpoint, wait_s=30))
    await eventually(lambda: len(house.waiters) == 1)
    house.waiters.drain()
    assert await soon(waiting) == []
    assert await soon(claimed(client, endpoint, wait_s=30)) == []


async def test_where_as_many_wait_as_may_others_are_told_when_to_come_again() -> None:
    house = House(gateway_max_waiters=0)
    async with opened(house) as client:
        endpoint = await pulled(client)
        answer = await client.post(f"{URL}/{endpoint['id']}/events:claim", json={"wait_s": 30})
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        await ended(house, client)
        assert len(await claimed(client, endpoint, wait_s=30)) == 1, "what is due needs no wait"


async def test_nothing_is_pulled_from_an_endpoint_that_is_sent_to(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    await ended(house, client)
    leased = {"events": [{"id": "msg_1", "lease": "x"}]}
    for verb, body in (("claim", {}), ("renew", leased), ("ack", leased)):
        answer = await client.post(f"{URL}/{endpoint['id']}/events:{verb}", json=body)
        problem(answer, 409, "conflict", "mode")
    assert (await listed(client))[0]["tried"] == 0


async def test_a_thin_event_links_to_its_result(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client, payload="thin")
    await ended(house, client)
    (event,) = await claimed(client, endpoint)
    data = orjson.loads(event["body"])["data"]
    assert data["result"] is None
    result = await client.get(data["result_url"].removeprefix("https://inference.example.com/api"))
    assert result.json()["outputs"][0]["data"] == [3.0]


async def test_whatever_a_result_holds_its_event_comes_with_a_link(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    for value in (b"{", b"NaN", b"\xff"):
        job_id = await house.submitted(client)
        await house.finish(job_id, result=Payload(value))
    events = await claimed(client, endpoint)
    for data in (orjson.loads(event["body"])["data"] for event in events):
        assert (data["result"], "result_url" in data) == (None, True)
    assert len(events) == 3


async def test_one_event_that_cannot_be_made_holds_up_no_other(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await pulled(client)
    broken, sound = await ended(house, client), await ended(house, client)
    glance = house.store.glance

    async def read(key: JobKey) -> Any:
        if key.id == broken:
            raise RecursionError
        return await glance(key)

    monkeypatch.setattr(house.store, "glance", read)
    with capture_logs() as logged:
        assert [event["subject"] for event in await claimed(client, endpoint)] == [sound]
    assert [line["log_level"] for line in logged if "could not be made" in line["event"]] == ["error"]


async def test_what_was_claimed_is_given_back_where_its_request_is_given_up(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await pulled(client)
    await ended(house, client)
    reads = asyncio.Event()

    async def never(_key: JobKey) -> None:
        reads.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(house.store, "glance", never)
    receiver = Receiver(house, endpoint)
    await soon(reads.wait())
    receiver.task.cancel()
    await asyncio.wait([receiver.task])
    monkeypatch.undo()
    assert len(await claimed(client, endpoint)) == 1


async def test_an_event_of_a_job_that_is_kept_no_longer_comes_with_what_is_known(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await pulled(client)
    job_id = await ended(house, client)
    house.now += timedelta(days=30)
    async for _ in house.store.purge(house.now):
        pass
    (event,) = await claimed(client, endpoint)
    data = orjson.loads(event["body"])["data"]
    assert (data["id"], data["model"]) == (job_id, "vector")


async def test_while_a_secret_is_rotated_events_have_two_signatures(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    await ended(house, client)
    answer = await client.post(f"{URL}/{endpoint['id']}/rotate_secret", json={"grace_s": 3600})
    (event,) = await claimed(client, endpoint)
    for secret in (endpoint["signing_secret"], answer.json()["signing_secret"]):
        check_signature(event["headers"], event["body"].encode(), [secret], house.now)


async def test_a_key_that_is_missing_is_told_and_the_events_stay(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await pulled(client)
    await ended(house, client)
    other = House(webhook_keys=OTHER_KEYS)
    other.webhook_state.endpoints |= house.webhook_state.endpoints
    other.webhook_state.targets |= house.webhook_state.targets
    other.webhook_state.deliveries |= house.webhook_state.deliveries
    async with opened(other) as without:
        answer = await without.post(f"{URL}/{endpoint['id']}/events:claim")
        assert "k1" in problem(answer, 503, "key_missing")["detail"]
    assert len(await claimed(client, endpoint)) == 1


async def test_a_test_event_that_is_pulled_and_acknowledged_counts_as_answered(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await pulled(client)
    asked = asyncio.create_task(client.post(f"{URL}/{endpoint['id']}/test", json={"event_type": "job.succeeded"}))
    (event,) = await soon(claimed(client, endpoint, wait_s=30))
    assert orjson.loads(event["body"])["type"] == "job.succeeded"
    await told(client, endpoint, "ack", event)
    assert (await soon(asked)).json()["status_code"] == 200


async def test_a_store_that_is_away_is_told_and_a_claim_that_waits_goes_on_once_it_is_back(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await pulled(client)
    waiting = asyncio.create_task(claimed(client, endpoint, wait_s=30))
    await eventually(lambda: len(house.waiters) == 1)
    house.webhook_state.down = True
    problem(await client.post(f"{URL}/{endpoint['id']}/events:claim"), 503, "unavailable")
    house.webhook_state.down = False
    job_id = await ended(house, client)
    assert [event["subject"] for event in await soon(waiting)] == [job_id]


async def test_an_event_is_signed_by_the_secrets_at_the_time_of_its_claim(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await pulled(client)
    waiting = asyncio.create_task(claimed(client, endpoint, wait_s=30))
    await eventually(lambda: len(house.waiters) == 1)
    secret = (await client.post(f"{URL}/{endpoint['id']}/rotate_secret")).json()["signing_secret"]
    await ended(house, client)
    (event,) = await soon(waiting)
    check_signature(event["headers"], event["body"].encode(), [secret], house.now)
