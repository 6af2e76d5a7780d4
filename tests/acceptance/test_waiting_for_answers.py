"""`Prefer: wait`, `Prefer: respond-async`, and long polls with `If-None-Match`."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import httpx

from penstock.stack import Stack
from schemas.jobs import Payload, new_job_id
from schemas.records import LaneJob, lane_record
from schemas.topics import LaneClass, Topics
from tests.acceptance import digits, jobs, kafka
from tests.waiting import eventually, soon


async def test_a_client_that_prefers_to_wait_gets_the_finished_job(http: httpx.AsyncClient) -> None:
    rows = digits.images(2)
    answer = await http.post("/v1/models/digits/jobs", json=digits.request(rows), headers={"prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=30"
    assert "location" not in answer.headers  # nothing is left to poll
    job = jobs.job_in(answer)
    assert (job["status"], job["done"]) == ("succeeded", True)
    assert jobs.output(job, "label")["data"] == digits.labels(rows)


async def test_a_wait_that_was_too_short_ends_with_a_job_to_poll(http: httpx.AsyncClient, parked: str) -> None:
    began = time.monotonic()
    answer = await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["a"]}, headers={"prefer": "wait=1"})
    assert time.monotonic() - began >= 1
    job = jobs.accepted(answer)
    assert answer.headers["preference-applied"] == "wait=1"
    assert answer.headers["location"].endswith(job["id"])
    assert (await jobs.read(http, job["id"]))["status"] == "queued"


async def test_a_job_that_is_waited_for_is_listed_after_a_moment_and_its_cancellation_is_the_answer(
    http: httpx.AsyncClient, parked: str
) -> None:
    mark = new_job_id()
    waits = asyncio.create_task(
        http.post(
            "/v1/jobs",
            json={"model": parked, "input": {"instances": ["a"]}, "metadata": {"mark": mark}},
            headers={"prefer": "wait=30"},
        )
    )

    async def listed() -> jobs.Json | None:
        page = (await http.get("/v1/jobs", params={"limit": 100})).json()["data"]
        return next((job for job in page if job["metadata"] == {"mark": mark}), None)

    job = await eventually(listed, what="the job is listed")
    assert job is not None
    assert (await http.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200
    answer = await waits
    assert answer.status_code == 200
    canceled = jobs.job_in(answer)
    assert (canceled["id"], canceled["status"], canceled["metadata"]) == (job["id"], "canceled", {"mark": mark})


async def test_the_job_of_a_gateway_that_was_killed_while_it_waited_ends_with_all_that_was_said_of_it(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    rows, now = digits.images(1), datetime.now(UTC)
    sent = LaneJob(
        tenant="default",
        id=new_job_id(),
        model="digits",
        version="2",
        lane=LaneClass.LIVE,
        created_at=now,
        expires_at=now + timedelta(minutes=1),
        metadata={"order": 7},
        reply_to="gw-killed",
        payload=Payload(json.dumps(digits.request(rows)).encode()),
    )
    record = lane_record(topics.lane(sent.lane_of), sent, "/penstock/gateway")
    kafka.send(stack.kafka_bootstrap_servers, record.topic, record.value, dict(record.headers), record.key)

    async def there() -> bool:
        return (await http.get(f"/v1/jobs/{sent.id}")).status_code == 200

    await eventually(there, what="its row comes with its end")
    job = await jobs.read(http, sent.id)
    assert (job["status"], job["metadata"]) == ("succeeded", {"order": 7})
    assert jobs.output(job, "label")["data"] == digits.labels(rows)


async def test_respond_async_is_answered_at_once(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/models/digits/jobs", json=digits.request(digits.images(1)), headers={"prefer": "respond-async"}
    )
    jobs.accepted(answer)
    assert answer.headers["preference-applied"] == "respond-async"


async def test_preferences_that_nobody_knows_are_ignored(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/models/digits/jobs",
        json=digits.request(digits.images(1)),
        headers={"prefer": "handling=lenient, depth-noncommittal, wait=soon"},
    )
    jobs.accepted(answer)
    assert "preference-applied" not in answer.headers


async def test_a_long_poll_ends_when_the_job_changes(http: httpx.AsyncClient, parked: str) -> None:
    # Given a client that has seen its job queued, and waits for news
    job = jobs.accepted(await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["a"]}))
    seen = await http.get(f"/v1/jobs/{job['id']}")
    news = asyncio.create_task(
        http.get(f"/v1/jobs/{job['id']}", headers={"prefer": "wait=60", "if-none-match": seen.headers["etag"]})
    )
    # When the job changes
    await http.post(f"/v1/jobs/{job['id']}/cancel")
    # Then it is told at once
    answer = await soon(news)
    assert jobs.job_in(answer)["status"] == "canceled"
    assert answer.headers["etag"] != seen.headers["etag"]
    assert "retry-after" not in answer.headers  # it has ended: there is nothing to come back for


async def test_a_long_poll_without_news_ends_with_not_modified(http: httpx.AsyncClient, parked: str) -> None:
    job = jobs.accepted(await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["a"]}))
    seen = await http.get(f"/v1/jobs/{job['id']}")
    assert int(seen.headers["retry-after"]) >= 1
    unchanged = {"if-none-match": seen.headers["etag"]}
    at_once = await http.get(f"/v1/jobs/{job['id']}", headers=unchanged)
    assert (at_once.status_code, at_once.content) == (304, b"")
    began = time.monotonic()
    later = await http.get(f"/v1/jobs/{job['id']}", headers=unchanged | {"prefer": "wait=1"})
    assert (later.status_code, later.content) == (304, b"")
    assert later.headers["preference-applied"] == "wait=1"
    assert time.monotonic() - began >= 1


async def test_a_result_can_be_waited_for_too(http: httpx.AsyncClient) -> None:
    rows = digits.images(1)
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(rows)))
    answer = await http.get(f"/v1/jobs/{job['id']}/result", headers={"prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    (label, _) = answer.json()["outputs"]
    assert label["data"] == digits.labels(rows)
