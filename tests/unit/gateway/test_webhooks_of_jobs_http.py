"""A job's own webhook over HTTP: asked for, checked, kept, shown."""

import asyncio
from typing import Any

import httpx
import pytest

import gateway.waiters
from tests.unit.gateway.house import INPUT, SUBMIT, House, opened, problem
from tests.waiting import eventually

HOOK = "https://example.com/hook?of=17"
PATH = "/v1/models/vector/jobs"


def told(document: dict[str, Any]) -> tuple[object, object]:
    return document["webhook"], document["webhook_events_filter"]


@pytest.mark.parametrize(
    ("asked", "events"),
    [
        ({}, None),
        ({"webhook_events_filter": None}, None),
        ({"webhook_events_filter": ["job.failed"]}, ["job.failed"]),
        ({"webhook_events_filter": ["start", "job.failed", "start"]}, ["job.running", "job.failed"]),
        ({"webhook_events_filter": ["completed"]}, ["job.succeeded", "job.failed", "job.canceled"]),
    ],
)
async def test_a_job_keeps_and_shows_its_webhook(
    house: House, client: httpx.AsyncClient, asked: dict[str, Any], events: list[str] | None
) -> None:
    accepted = (await client.post("/v1/jobs", json=SUBMIT | {"webhook": HOOK} | asked)).json()
    assert told(accepted) == (HOOK, events)

    job = await house.job(accepted["id"])
    assert (job.webhook, job.webhook_events) == (HOOK, None if events is None else tuple(events))
    await house.finish(job.id)
    assert told((await client.get(f"/v1/jobs/{job.id}")).json()) == (HOOK, events)
    (listed,) = (await client.get("/v1/jobs")).json()["data"]
    assert told(listed) == (HOOK, events)


async def test_where_the_body_is_the_input_the_webhook_is_a_query_parameter(
    house: House, client: httpx.AsyncClient
) -> None:
    query = {"webhook": HOOK, "webhook_events_filter": "job.succeeded,job.failed"}
    accepted = await client.post(PATH, json=INPUT, params=query)
    assert accepted.status_code == 202, accepted.text
    assert told(accepted.json()) == (HOOK, ["job.succeeded", "job.failed"])


async def test_a_job_without_a_webhook_says_nothing_of_one(client: httpx.AsyncClient) -> None:
    accepted = (await client.post("/v1/jobs", json=SUBMIT | {"webhook": None})).json()
    assert not {name for name in accepted if "webhook" in name}


async def test_a_url_is_kept_in_its_normal_form(house: House, client: httpx.AsyncClient) -> None:
    accepted = await client.post("/v1/jobs", json=SUBMIT | {"webhook": "HTTPS://Bücher.example:443"})
    assert accepted.json()["webhook"] == "https://xn--bcher-kva.example/"


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://localhost/", "https://10.0.0.1/", "https://a@b.example/", "", "x"]
)
async def test_a_url_that_breaks_a_rule_is_refused_and_nothing_is_sent(
    house: House, client: httpx.AsyncClient, url: str
) -> None:
    in_envelope = await client.post("/v1/jobs", json=SUBMIT | {"webhook": url})
    in_query = await client.post(PATH, json=INPUT, params={"webhook": url})
    for answer in (in_envelope, in_query):
        assert problem(answer, 400, "invalid_request", "webhook")["detail"].startswith("webhook ")
    assert not house.records()
    assert not house.store.known


async def test_the_switch_for_development_lets_a_webhook_be_on_this_machine() -> None:
    house = House(webhook_allow_private=True)
    async with opened(house) as client:
        accepted = await client.post("/v1/jobs", json=SUBMIT | {"webhook": "http://127.0.0.1:8099/"})
        assert accepted.json()["webhook"] == "http://127.0.0.1:8099/"


async def test_a_job_with_a_webhook_is_written_down_first_also_where_its_request_waits(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.waiters, "ROW_AFTER_S", 60.0)
    asking = asyncio.create_task(
        client.post("/v1/jobs", json=SUBMIT | {"webhook": HOOK}, headers={"prefer": "wait=30"})
    )
    await eventually(lambda: len(house.records()) == 1)
    (sent,) = house.records()
    assert [key.id for key in house.store.known] == [sent.id]
    await house.finish(sent.id)
    answer = await asking
    assert answer.status_code == 200
    assert told(answer.json()) == (HOOK, None)


async def test_the_same_key_with_another_webhook_is_another_request(client: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "a"}
    first = await client.post("/v1/jobs", json=SUBMIT | {"webhook": HOOK}, headers=key)
    again = await client.post("/v1/jobs", json=SUBMIT | {"webhook": HOOK}, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    for other in ({"webhook": "https://other.example/"}, {"webhook": HOOK, "webhook_events_filter": ["start"]}, {}):
        refused = await client.post("/v1/jobs", json=SUBMIT | other, headers=key)
        problem(refused, 422, "idempotency_mismatch", "Idempotency-Key")
