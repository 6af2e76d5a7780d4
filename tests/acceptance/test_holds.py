"""Jobs that wait, are refused or end because an operator says so, on a whole stack."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import digits, jobs, kafka
from tests.acceptance.test_splitting import request_record
from tests.waiting import eventually

INPUT = digits.request(digits.images(1))
ECHO = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}]}


async def submit(http: httpx.AsyncClient, **fields: object) -> str:
    answer = await http.post("/v1/jobs", json={"model": "digits", "version": "1", "input": INPUT, **fields})
    return str(jobs.accepted(answer)["id"])


@asynccontextmanager
async def held(http: httpx.AsyncClient, **fields: object) -> AsyncIterator[jobs.Json]:
    """A hold, until the block ends."""
    answer = await http.post("/v1/holds", json={"action": "hold", "model": "digits", "reason": "a test", **fields})
    assert answer.status_code == 201, answer.text
    hold: jobs.Json = answer.json()
    try:
        yield hold
    finally:
        assert (await http.delete(f"/v1/holds/{hold['id']}")).status_code == 200


async def heard(http: httpx.AsyncClient, hold: jobs.Json) -> list[str]:
    """Jobs of which one is held, submitted until it was: a worker may hear of a hold after a gateway."""
    sent: list[str] = []

    async def waits() -> bool:
        sent.append(await submit(http))
        job = await jobs.read(http, sent[-1])
        return job.get("held", {}).get("id") == hold["id"] and not job["done"]

    await eventually(waits, 10, "a job is held")
    return sent


async def test_jobs_of_a_held_model_wait_and_say_why_and_those_that_are_not_ended_go_on_after_its_release(
    http: httpx.AsyncClient,
) -> None:
    async with held(http) as hold:
        sent = await heard(http, hold)
        waiting = [await submit(http) for _ in range(5)]
        other = jobs.accepted(await http.post("/v1/models/echo/jobs", json=ECHO))
        assert (await jobs.succeeded(http, other["id"])).get("held") is None
        job = await jobs.read(http, waiting[-1])
        assert (job["status"], job["held"]["reason"]) == ("queued", "a test")
        seen = (await http.get(f"/v1/holds/{hold['id']}")).json()
        assert seen["waiting"] >= 1

        async with held(http, action="end", version="1") as end:
            ended = [await jobs.ended(http, job_id) for job_id in waiting]
            assert {job["status"] for job in ended if job["status"] != "succeeded"} == {"canceled"}
            assert (await http.get(f"/v1/holds/{end['id']}")).json()["waiting"] == 0
        later = await submit(http)
        assert (await jobs.read(http, later))["held"]["id"] == hold["id"]
    await jobs.succeeded(http, later)
    for job_id in sent:
        await jobs.ended(http, job_id)
    verbs = [entry["verb"] for entry in (await http.get("/v1/audit?limit=4")).json()["data"]]
    assert verbs == ["release", "release", "end", "hold"]


async def test_of_a_held_tenant_each_job_waits_aside_and_new_ones_can_be_refused_in_either_way(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    async with held(http, tenant="default") as hold:
        sent = await heard(http, hold)
        waiting = [await submit(http) for _ in range(5)]
        with kafka.TopicReader(stack.kafka_bootstrap_servers, topics.held) as reader:
            await eventually(lambda: {each.job_id for each in reader.read_to_end()} & set(waiting), 10, "put aside")
        async with held(http, action="refuse") as refusal:

            async def refused() -> bool:
                answer = await http.post("/v1/jobs", json={"model": "digits", "input": INPUT})
                return answer.status_code == 503 and answer.json()["error"]["code"] == "admission_refused"

            await eventually(refused, 10, "new jobs are refused")
            job_id = f"refused-{uuid.uuid4().hex}"
            kafka.send_all(stack.kafka_bootstrap_servers, topics.requests, [request_record(job_id)])

            async def known() -> bool:
                return (await http.get(f"/v1/jobs/{job_id}")).status_code == 200

            await eventually(known, 30, "the direct job is known")
            end = await jobs.ended(http, job_id)
            assert (end["status"], end["error"]["code"]) == ("failed", "admission_refused")
            assert refusal["matched"] >= 1
    for each in (*sent, *waiting):
        await jobs.succeeded(http, each)
