"""Webhook endpoints on real Postgres, as the OpenAI SDK drives them, unmodified; and events that are pulled from it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import openai
import pytest

from gateway.app import GatewayApp
from gateway.main import http_limits
from gateway.problems import render_problem
from gateway.webhooks.parts import WebhookParts
from runtime.clock import now_utc
from runtime.http_limits import Connections
from runtime.http_server import LimitedServer
from runtime.lifecycle import BackgroundTasks
from runtime.process import listen
from schemas.jobs import new_job_id
from schemas.webhooks import Attempt, EventType
from stores.postgres import PostgresJobs, PostgresResults
from stores.postgres.webhooks.queue import PostgresDeliveryQueue
from stores.webhooks import Outcome, Verdict
from tests.contracts.stores.building import ended, queued
from tests.unit.gateway.house import RESULT, House
from tests.waiting import eventually, soon

WANTED: dict[str, Any] = {
    "name": "mine",
    "url": "https://example.com/hook",
    "event_types": ["job.succeeded", "job.failed"],
}
# Calls a method of the SDK's webhooks: of the synchronous client, or of the other.
Call = Callable[..., Awaitable[Any]]


@pytest.fixture
async def base_url(migrated_postgres_dsn: str) -> AsyncIterator[str]:
    """Of a gateway whose webhooks rest in Postgres."""
    house = House(postgres_dsn=migrated_postgres_dsn)
    listener = listen("127.0.0.1", 0)
    async with PostgresJobs(migrated_postgres_dsn) as jobs:
        parts = WebhookParts(house.settings, jobs, house.waiters)
        async with parts, BackgroundTasks(asyncio.Event()) as tasks:
            parts.start(tasks)
            app = GatewayApp({})
            app.open(dataclasses.replace(house.services, webhooks=parts.webhooks))
            connections = Connections(http_limits(house.settings), house.budget, render_problem)
            server = LimitedServer(app, connections, drain_timeout_s=1)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            server.should_exit = True
            await serving


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, base_url: str) -> AsyncIterator[Call]:
    given: dict[str, Any] = {"base_url": base_url, "api_key": "none", "max_retries": 0}
    if request.param == "sync":
        with openai.OpenAI(**given) as client:

            async def call(name: str, /, *arguments: Any, **fields: Any) -> Any:
                method = getattr(client.webhooks, name)
                found = await asyncio.to_thread(method, *arguments, **fields)
                return await asyncio.to_thread(list, found) if name == "list" else found

            yield call
    else:
        async with openai.AsyncOpenAI(**given) as other:

            async def call_other(name: str, /, *arguments: Any, **fields: Any) -> Any:
                found = getattr(other.webhooks, name)(*arguments, **fields)
                return [each async for each in found] if name == "list" else await found

            yield call_other


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as client:
        yield client


@pytest.fixture
async def finish(migrated_postgres_dsn: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Ends a job, as the sink does, and gives its id."""
    async with PostgresResults(migrated_postgres_dsn) as results:

        async def finish() -> str:
            now = now_utc()
            job = queued(id=new_job_id(), created_at=now)
            await results.finish([ended(job, completed_at=now, result=RESULT)])
            return job.id

        yield finish


@asynccontextmanager
async def notifying(dsn: str, verdict: Verdict, status: int) -> AsyncIterator[None]:
    """Whatever is due gets this answer, and nothing is sent."""
    async with PostgresDeliveryQueue(dsn) as queue:

        async def notify() -> bool:
            outcomes = []
            for claim in (await queue.claim(now_utc(), limit=10, each=10)).claims:
                attempt = Attempt(delivery=claim.delivery.id, number=1, at=now_utc(), latency_ms=1, status=status)
                outcomes.append(Outcome(claim=claim, verdict=verdict, attempt=attempt))
            await queue.record(outcomes, now_utc())
            return False

        task = asyncio.create_task(eventually(notify, timeout_s=60))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_sdk_creates_reads_changes_lists_and_deletes(call: Call) -> None:
    first = await call("create", **WANTED)
    assert (first.object, first.url, first.event_types) == ("webhook_endpoint", WANTED["url"], WANTED["event_types"])
    assert first.signing_secret.startswith("whsec_")
    found = await call("retrieve", first.id)
    assert found.signing_secret_hint == f"whsec_...{first.signing_secret.rstrip('=')[-4:]}"
    assert (found.created_at, found.updated_at) == (first.created_at, first.updated_at)
    assert not hasattr(found, "signing_secret")
    changed = await call("update", first.id, name="other", event_types=["job.canceled"])
    assert (changed.name, changed.event_types, changed.url) == ("other", ["job.canceled"], WANTED["url"])
    others = [(await call("create", **WANTED)).id for _ in range(2)]
    assert [each.id for each in await call("list", limit=2)] == [*reversed(others), first.id], "pages follow pages"
    deleted = await call("delete", first.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (first.id, True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        await call("retrieve", first.id)


async def test_the_sdk_rotates_a_secret_and_is_refused_what_breaks_a_rule(call: Call) -> None:
    endpoint = await call("create", **WANTED)
    rotated = await call("rotate_secret", endpoint.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != endpoint.signing_secret
    assert (await call("retrieve", endpoint.id)).signing_secret_hint == rotated.signing_secret_hint
    for fields, param in (({"event_types": ["eval.run.failed"]}, "event_types"), ({"url": "http://10.0.0.1"}, "url")):
        with pytest.raises(openai.BadRequestError) as refused:
            await call("create", **WANTED | fields)
        assert (refused.value.param, refused.value.code) == (param, "invalid_request")


async def test_the_sdk_tests_an_endpoint(call: Call, migrated_postgres_dsn: str) -> None:
    endpoint = await call("create", **WANTED)
    async with notifying(migrated_postgres_dsn, Verdict.FAILED, 503):
        result = await soon(call("test", endpoint.id, event_type="job.failed"))
    assert (result.object, result.webhook_endpoint_id, result.event_type, result.status_code, result.success) == (
        "webhook_endpoint.test",
        endpoint.id,
        "job.failed",
        503,
        True,
    )


async def test_the_sdk_lists_event_types_and_unwraps_an_event_that_is_pulled(
    base_url: str, client: httpx.AsyncClient, finish: Callable[[], Awaitable[str]]
) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as sdk:
        assert (await sdk.webhooks.event_types.list()).data == [str(each) for each in EventType]
        endpoint = (await client.post("/webhook_endpoints", json=WANTED | {"mode": "pull", "url": None})).json()
        job_id = await finish()
        answer = await client.post(f"/webhook_endpoints/{endpoint['id']}/events:claim", json={"wait_s": 30})
        (event,) = answer.json()["data"]
        found: Any = sdk.webhooks.unwrap(event["body"], event["headers"], secret=endpoint["signing_secret"])
        assert (found.id, found.type, found.data.id) == (event["id"], "job.succeeded", job_id)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            sdk.webhooks.unwrap(event["body"] + " ", event["headers"], secret=endpoint["signing_secret"])


async def test_an_event_is_waited_for_acknowledged_listed_and_replayed(
    client: httpx.AsyncClient, finish: Callable[[], Awaitable[str]]
) -> None:
    endpoint = (await client.post("/webhook_endpoints", json=WANTED | {"mode": "pull", "url": None})).json()
    url = f"/webhook_endpoints/{endpoint['id']}"
    waiting = asyncio.create_task(client.post(f"{url}/events:claim", json={"wait_s": 30}))
    job_id = await finish()
    (event,) = (await soon(waiting)).json()["data"]
    assert (await client.get(url)).json()["pending"] == 1
    leases = {"events": [{"id": event["id"], "lease": event["lease"]}]}
    assert (await client.post(f"{url}/events:renew", json=leases)).json()["done"] == [event["id"]]
    assert (await client.post(f"{url}/events:ack", json=leases)).json()["done"] == [event["id"]]
    assert (await client.post(f"{url}/events:ack", json=leases)).json()["lost"] == [event["id"]]
    (delivery,) = (await client.get("/webhook_deliveries", params={"job": job_id})).json()["data"]
    assert (delivery["id"], delivery["state"], delivery["tried"]) == (event["id"], "delivered", 1)
    assert (await client.get(url)).json()["last_success_at"] is not None
    wanted = {"filter": {"endpoint": endpoint["id"], "state": "delivered"}}
    counted = await client.post("/webhook_deliveries/replay", json=wanted | {"dry_run": True})
    assert counted.json()["matched"] == 1
    assert (await client.post("/webhook_deliveries/replay", json=wanted)).json()["replayed"] == 1
    (again,) = (await client.post(f"{url}/events:claim")).json()["data"]
    assert again["id"] == event["id"]
    await client.post(f"{url}/events:ack", json={"events": [{"id": again["id"], "lease": again["lease"]}]})
    one = await client.post(f"/webhook_deliveries/{event['id']}/replay")
    assert (one.json()["id"], one.json()["state"]) == (event["id"], "pending")


async def test_what_is_held_is_dropped_or_tried_as_it_is_said(
    client: httpx.AsyncClient, finish: Callable[[], Awaitable[str]], migrated_postgres_dsn: str
) -> None:
    endpoint = (await client.post("/webhook_endpoints", json=WANTED)).json()
    url = f"/webhook_endpoints/{endpoint['id']}"
    disabled = (await client.post(f"{url}/disable", json={"reason": "moving"})).json()
    assert (disabled["status"], disabled["status_reason"]) == ("disabled", "moving")
    await finish()
    assert (await client.get(url)).json()["held"] == 1
    enabled = (await client.post(f"{url}/enable", json={"replay": "none"})).json()
    assert (enabled["status"], enabled["replayed"], enabled["pending"]) == ("active", 0, 0)
    await client.post(f"{url}/disable")
    await finish()
    enabled = (await client.post(f"{url}/enable")).json()
    assert (enabled["replayed"], enabled["pending"]) == (1, 1)

    async def delivered() -> list[Any]:
        query = {"endpoint": endpoint["id"], "state": "delivered"}
        found: list[Any] = (await client.get("/webhook_deliveries", params=query)).json()["data"]
        return found

    async with notifying(migrated_postgres_dsn, Verdict.DELIVERED, 204):
        (delivery,) = await eventually(delivered)
    read = (await client.get(f"/webhook_deliveries/{delivery['id']}")).json()
    assert [(each["number"], each["status"]) for each in read["attempts"]] == [(1, 204)]
