"""What clients are told while Kafka, Postgres or Redis is away."""

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance import jobs
from tests.acceptance.chaos.audit import audit
from tests.acceptance.chaos.load import Load
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
