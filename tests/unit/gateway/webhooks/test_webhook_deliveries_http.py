"""Deliveries over HTTP: what was sent and what came of it, and some of it once more."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.webhooks import deliveries
from stores.webhooks import Verdict
from tests.unit.gateway.house import NOW, House, problem
from tests.unit.gateway.webhooks.notifying import notify
from tests.unit.gateway.webhooks.test_webhook_endpoints_http import URL as ENDPOINTS
from tests.unit.gateway.webhooks.test_webhook_endpoints_http import created, ended

URL = "/v1/webhook_deliveries"
AT = "2026-01-02T03:04:05.678901Z"


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def delivered(house: House, client: httpx.AsyncClient) -> dict[str, Any]:
    await ended(house, client)
    await notify(house)
    (document,) = await listed(client, state="delivered")
    return document


async def test_a_delivery_tells_what_became_of_its_event(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    job_id = await ended(house, client)
    (delivery,) = await listed(client)
    assert delivery == {
        "object": "webhook_delivery",
        "id": delivery["id"],
        "endpoint": endpoint["id"],
        "url": None,
        "type": "job.succeeded",
        "subject": job_id,
        "revision": 3,
        "state": "pending",
        "created_at": AT,
        "due_at": AT,
        "ended_at": None,
        "tried": 0,
        "last_status": None,
        "last_error": None,
    }
    await notify(house, Verdict.FAILED, None, "nobody answered within 15 s")
    once = (await client.get(f"{URL}/{delivery['id']}")).json()
    assert (once["state"], once["tried"], once["last_error"]) == ("pending", 1, "nobody answered within 15 s")
    house.now += timedelta(minutes=1)
    await notify(house)
    twice = (await client.get(f"{URL}/{delivery['id']}")).json()
    assert (twice["state"], twice["tried"], twice["last_status"], twice["due_at"]) == ("delivered", 2, 200, None)
    assert [(each["number"], each["status"], each["head"]) for each in twice["attempts"]] == [
        (2, 200, "HTTP/1.1 200"),
        (1, None, None),
    ]
    assert twice["attempts"][1] == {
        "number": 1,
        "at": AT,
        "latency_ms": 12,
        "status": None,
        "error": "nobody answered within 15 s",
        "head": None,
        "probe": False,
    }


async def test_a_jobs_own_webhook_is_a_delivery_with_its_url(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client, webhook="https://example.com/mine")
    await house.finish(job_id)
    (delivery,) = await listed(client, job=job_id)
    assert (delivery["endpoint"], delivery["url"]) == (None, "https://example.com/mine")


async def test_deliveries_are_found_by_all_that_is_given(house: House, client: httpx.AsyncClient) -> None:
    first = await created(client)
    second = await created(client, event_types=["job.succeeded"])
    job_id = await ended(house, client)
    await notify(house)
    house.now += timedelta(minutes=1)
    other = await ended(house, client)
    assert len(await listed(client)) == 4
    assert {each["endpoint"] for each in await listed(client, job=job_id)} == {first["id"], second["id"]}
    assert {each["subject"] for each in await listed(client, endpoint=first["id"])} == {job_id, other}
    assert len(await listed(client, endpoint=first["id"], state="delivered", type="job.succeeded")) == 1
    assert await listed(client, type="job.failed") == []
    assert await listed(client, endpoint="we_none") == []
    assert await listed(client, created_before=NOW.isoformat()) == []
    assert len(await listed(client, created_after="2026-01-01T00:00:00Z")) == 4
    of_one = (await client.get(f"{ENDPOINTS}/{second['id']}/deliveries", params={"state": "pending"})).json()
    assert [each["subject"] for each in of_one["data"]] == [other]


async def test_deliveries_are_listed_page_by_page_the_newest_first(house: House, client: httpx.AsyncClient) -> None:
    await created(client)
    for _ in range(3):
        await ended(house, client)
    ids = sorted((each["id"] for each in await listed(client)), reverse=True)
    page = (await client.get(URL, params={"limit": 2})).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:2], True)
    page = (await client.get(URL, params={"limit": 2, "after": page["next_after"]})).json()
    assert ([each["id"] for each in page["data"]], page["next_after"]) == (ids[2:], None)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"state": "lost"}, "state"),
        ({"job": "a\0b"}, "job"),
        ({"type": "x" * 65}, "type"),
        ({"endpoint": ""}, "endpoint"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"subject": "x"}, "subject"),
        ({"limit": 101}, "limit"),
    ],
)
async def test_a_query_that_breaks_a_rule_is_refused(
    client: httpx.AsyncClient, query: dict[str, Any], param: str
) -> None:
    problem(await client.get(URL, params=query), 400, "invalid_request", param)


async def test_one_is_replayed_under_its_id(house: House, client: httpx.AsyncClient) -> None:
    await created(client)
    delivery = await delivered(house, client)
    (again,) = [(await client.post(f"{URL}/{delivery['id']}/replay")).json()]
    assert (again["id"], again["state"], again["ended_at"]) == (delivery["id"], "pending", None)
    problem(await client.post(f"{URL}/{delivery['id']}/replay"), 409, "conflict", "id")
    await notify(house)
    assert [each["id"] for each in await listed(client, state="delivered")] == [delivery["id"]]


async def test_one_whose_endpoint_is_gone_is_not_replayed(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    delivery = await delivered(house, client)
    await client.delete(f"{ENDPOINTS}/{endpoint['id']}")
    refused = problem(await client.post(f"{URL}/{delivery['id']}/replay"), 409, "conflict", "id")
    assert "deleted" in refused["detail"]


async def test_many_are_counted_first_and_then_replayed(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "STEP", 2)
    await created(client)
    for _ in range(5):
        await ended(house, client)
    await notify(house)
    await ended(house, client)
    wanted = {"filter": {"type": "job.succeeded"}}
    counted = (await client.post(f"{URL}/replay", json=wanted | {"dry_run": True})).json()
    assert counted == {"object": "webhook_delivery_count", "matched": 5}
    assert len(await listed(client, state="delivered")) == 5
    done = (await client.post(f"{URL}/replay", json=wanted)).json()
    assert done == {"object": "webhook_replay", "replayed": 5, "has_more": False, "next_after": None}
    assert len(await listed(client, state="pending")) == 6


async def test_a_replay_goes_on_where_one_request_left_off_and_meets_none_twice(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "STEP", 2)
    monkeypatch.setattr(deliveries, "MOST_REPLAYED", 2)
    await created(client)
    for _ in range(3):
        await ended(house, client)
    await notify(house)
    wanted: dict[str, Any] = {"filter": {"state": "delivered"}}
    replayed = []
    while True:
        answer = (await client.post(f"{URL}/replay", json=wanted)).json()
        replayed.append(answer["replayed"])
        await notify(house)  # they are delivered again before the next step
        if not answer["has_more"]:
            break
        wanted["after"] = answer["next_after"]
    assert replayed == [2, 1]


async def test_a_replay_that_is_cut_off_tells_how_far_it_came(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "STEP", 2)
    await created(client)
    for _ in range(3):
        await ended(house, client)
    await notify(house)
    replay = house.delivery_log.replay

    async def once(*arguments: Any, **fields: Any) -> Any:
        step = await replay(*arguments, **fields)
        house.webhook_state.down = True
        return step

    monkeypatch.setattr(house.delivery_log, "replay", once)
    answer = (await client.post(f"{URL}/replay", json={"filter": {"state": "delivered"}})).json()
    assert (answer["replayed"], answer["has_more"]) == (2, True)
    house.webhook_state.down = False
    rest = {"filter": {"state": "delivered"}, "after": answer["next_after"]}
    assert (await client.post(f"{URL}/replay", json=rest)).json()["replayed"] == 1


async def test_a_replay_of_nothing_in_particular_is_refused(client: httpx.AsyncClient) -> None:
    problem(await client.post(f"{URL}/replay", json={"filter": {}}), 400, "invalid_request", "filter")
    problem(await client.post(f"{URL}/replay"), 400, "invalid_request", "filter")


@pytest.mark.parametrize("delivery_id", ["msg_none", "%00", "x" * 500])
async def test_a_delivery_that_is_none_is_not_found(client: httpx.AsyncClient, delivery_id: str) -> None:
    problem(await client.get(f"{URL}/{delivery_id}"), 404, "webhook_delivery_not_found", "id")
    problem(await client.post(f"{URL}/{delivery_id}/replay"), 404, "webhook_delivery_not_found", "id")


async def test_a_store_that_is_away_is_told(house: House, client: httpx.AsyncClient) -> None:
    house.webhook_state.down = True
    problem(await client.get(URL), 503, "unavailable")
    problem(await client.post(f"{URL}/replay", json={"filter": {"state": "failed"}}), 503, "unavailable")


async def test_a_list_that_looked_at_enough_says_where_to_go_on(house: House, client: httpx.AsyncClient) -> None:
    house.delivery_log._most_looked_at = 2
    await created(client)
    for _ in range(5):
        await ended(house, client)
    first = (await client.get(URL, params={"type": "job.failed"})).json()
    assert (first["data"], first["has_more"]) == ([], True)
    second = (await client.get(URL, params={"type": "job.failed", "after": first["next_after"]})).json()
    third = (await client.get(URL, params={"type": "job.failed", "after": second["next_after"]})).json()
    assert (second["has_more"], third) == (True, third | {"data": [], "has_more": False, "next_after": None})
