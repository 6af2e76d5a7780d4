"""Jobs that name what is told of them, over HTTP and straight to Kafka."""

import json
import uuid

import httpx
from standardwebhooks import Webhook

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits, jobs, kafka
from tests.acceptance.client import client_of
from tests.acceptance.receiving import Event, receiving
from tests.waiting import eventually

ROWS = digits.images(1)


async def secret_of(http: httpx.AsyncClient) -> str:
    return str((await http.get("/v1/webhooks/default/secret")).json()["key"])


def verified(event: Event, secret: str) -> jobs.Json:
    document: jobs.Json = Webhook(secret).verify(event.body, dict(event.headers))
    return document


async def test_a_job_that_names_a_webhook_in_a_kafka_header_is_told_of_whether_it_can_be_done_or_not(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    secret = await secret_of(http)
    good, refused, unwanted = (f"told-{uuid.uuid4().hex}" for _ in range(3))
    async with receiving() as receiver:
        told = {"ce_webhook": f"{receiver.url}/hook", "ce_model": "digits"}
        only_failures = {"ce_webhookevents": "job.failed"}
        value = json.dumps({"instances": ROWS.tolist()}).encode()
        kafka.send(stack.kafka_bootstrap_servers, topics.requests, value, {**told, **only_failures, "ce_id": unwanted})
        kafka.send(stack.kafka_bootstrap_servers, topics.requests, value, {**told, "ce_id": good})
        kafka.send(stack.kafka_bootstrap_servers, topics.requests, b'{"instances": ["x"]}', {**told, "ce_id": refused})
        await eventually(lambda: {event.subject for event in receiver.events} >= {good, refused}, 60, "both were told")
        await jobs.succeeded(http, unwanted)
    found = {event.subject: verified(event, secret) for event in receiver.events}
    assert found.keys() == {good, refused}
    assert found[good]["type"] == "job.succeeded"
    assert [row["label"] for row in found[good]["data"]["result"]["predictions"]] == [
        str(label) for label in digits.labels(ROWS)
    ]
    assert found[refused]["type"] == "job.failed"
    assert found[refused]["data"]["error"] == (await jobs.read(http, refused))["error"]


async def test_in_place_of_a_large_result_an_event_holds_a_link_that_gives_it_without_a_key(
    http: httpx.AsyncClient, stack: Stack
) -> None:
    secret = await secret_of(http)
    async with receiving() as receiver:
        submit = {"model": "echo", "input": {"instances": ["x" * 30_000]}, "webhook": receiver.url}
        answer = await http.post("/v1/jobs", json=submit, headers={"prefer": "wait=30"})
        await eventually(lambda: receiver.events, 60, "it was told")
    assert answer.status_code == 200, answer.text
    job = jobs.job_in(answer)
    document = verified(receiver.events[0], secret)
    data = document["data"]
    url = data.pop("result_url")
    assert (document["type"], data["id"], data["result"], data["webhook"]) == (
        "job.succeeded",
        job["id"],
        None,
        f"{receiver.url}/",
    )
    async with client_of("") as anybody:
        given = await anybody.get(url)
        assert given.json() == job["result"]
        assert given.headers["cache-control"] == "private, no-store"
        assert (await anybody.get(url[:-1])).status_code == 403
