"""Kafka, Postgres and Redis that go away under load: jobs wait, clients try again, nothing is lost."""

import httpx
import pytest
import redis.asyncio

from penstock.part import Part
from penstock.stack import Stack
from tests.acceptance import jobs
from tests.acceptance.audit import audit
from tests.acceptance.load import Load
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def part(stack: Stack, name: str) -> Part:
    return {"Kafka": stack.kafka, "Postgres": stack.postgres, "Valkey": stack.valkey}[name]


@pytest.mark.parametrize("name", ["Kafka", "Postgres", "Valkey"])
async def test_a_service_that_restarts_under_load_costs_no_job(
    fragile: Stack, fragile_http: httpx.AsyncClient, name: str
) -> None:
    load = Load(fragile_http)
    async with load.going_on():
        await load.more(50)
        await part(fragile, name).restart()
        await load.more(50)
    await audit(fragile, fragile_http, load)


@pytest.mark.parametrize("name", ["Kafka", "Postgres", "Valkey"])
async def test_a_service_that_is_killed_under_load_costs_no_job(
    fragile: Stack, fragile_http: httpx.AsyncClient, name: str
) -> None:
    load = Load(fragile_http)
    async with load.going_on():
        await load.more(50)
        part(fragile, name).kill()
        await load.more(50)
    await audit(fragile, fragile_http, load)


async def test_without_redis_jobs_are_slower_and_the_gateway_says_so(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    async def slower() -> jobs.Json:
        answer = await fragile_http.get("/readyz")
        assert answer.status_code == 200, "it is ready all the same"
        hints: jobs.Json = answer.json()["slower"]
        return hints

    load = Load(fragile_http)
    await fragile.valkey.stop()
    try:
        await eventually(slower, 30, "the gateway says that it is slower")
        async with load.going_on():
            await load.more(20)
        await audit(fragile, fragile_http, load)
    finally:
        await fragile.valkey.start()

    async def as_quick_as_ever() -> bool:
        return not await slower()

    await eventually(as_quick_as_ever, 30)


async def test_a_redis_that_forgets_everything_costs_no_job(fragile: Stack, fragile_http: httpx.AsyncClient) -> None:
    load = Load(fragile_http)
    async with load.going_on(), redis.asyncio.Redis.from_url(fragile.redis_url) as client:
        for _ in range(3):
            await load.more(30)
            await client.flushall()
    await audit(fragile, fragile_http, load)


async def test_a_submit_without_postgres_is_refused_and_leaves_nothing_behind(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    body = {"model": "echo", "input": {"instances": ["a"]}, "metadata": {"while": "Postgres is away"}}
    await fragile.postgres.stop()
    try:
        answer = await fragile_http.post("/v1/jobs", json=body)
        assert jobs.problem(answer, 503)["code"] == "store_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        await fragile.postgres.start()

    async def accepted_again() -> bool:
        return (await fragile_http.post("/v1/jobs", json=body)).status_code == 202

    await eventually(accepted_again, 30)


async def test_a_submit_without_kafka_is_refused_and_leaves_no_queued_job(
    fragile: Stack, fragile_http: httpx.AsyncClient
) -> None:
    body = {"model": "echo", "input": {"instances": ["a"]}}
    await fragile.kafka.stop()
    try:
        answer = await fragile_http.post("/v1/jobs", json=body, timeout=60)
        assert jobs.problem(answer, 503)["code"] in ("queue_unavailable", "outcome_unknown")
    finally:
        await fragile.kafka.start()

    async def nothing_is_queued() -> bool:
        page = (await fragile_http.get("/v1/jobs", params={"status": "queued"})).json()
        return not any(job["model"] == "echo" for job in page["data"])

    await eventually(nothing_is_queued, 30)
