"""`Prefer: wait`, `Prefer: respond-async`, and long polls with `If-None-Match`."""

import asyncio
import time

import httpx

from tests.acceptance import digits, jobs


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
        http.get(f"/v1/jobs/{job['id']}", headers={"prefer": "wait=30", "if-none-match": seen.headers["etag"]})
    )
    # When the job changes
    began = time.monotonic()
    await http.post(f"/v1/jobs/{job['id']}/cancel")
    # Then it is told at once
    answer = await news
    assert time.monotonic() - began < 5
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
