"""`Idempotency-Key`: a client that does not know whether it was heard may say it again."""

import asyncio
import uuid

import httpx
import pytest

from tests.acceptance import digits, jobs


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


async def submit(http: httpx.AsyncClient, key: str, row: int = 0) -> httpx.Response:
    request = digits.request(digits.images(1, start=row))
    return await http.post("/v1/models/digits/jobs", json=request, headers={"idempotency-key": key})


async def test_the_same_request_again_is_answered_with_the_same_job(http: httpx.AsyncClient, key: str) -> None:
    first = await submit(http, key)
    again = await submit(http, key)
    assert jobs.accepted(again)["id"] == jobs.accepted(first)["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    # Also long after the job has ended
    await jobs.succeeded(http, jobs.accepted(first)["id"])
    assert jobs.accepted(await submit(http, key))["id"] == jobs.accepted(first)["id"]


async def test_a_quoted_key_is_the_bare_key(http: httpx.AsyncClient, key: str) -> None:
    first = jobs.accepted(await submit(http, key))
    assert jobs.accepted(await submit(http, f'"{key}"'))["id"] == first["id"]


async def test_the_same_key_with_another_body_is_refused(http: httpx.AsyncClient, key: str) -> None:
    await submit(http, key)
    error = jobs.problem(await submit(http, key, row=1), 422)
    assert (error["code"], error["param"]) == ("idempotency_mismatch", "Idempotency-Key")


async def test_a_key_that_is_too_long_is_refused(http: httpx.AsyncClient) -> None:
    error = jobs.problem(await submit(http, "k" * 256), 400)
    assert error["param"] == "Idempotency-Key"


async def test_the_same_request_many_times_at_once_makes_one_job(http: httpx.AsyncClient, key: str) -> None:
    answers = await asyncio.gather(*(submit(http, key) for _ in range(20)))
    winners = [answer for answer in answers if answer.status_code == 202]
    others = [answer for answer in answers if answer.status_code != 202]
    assert winners
    assert len({jobs.accepted(answer)["id"] for answer in winners}) == 1
    assert len([answer for answer in winners if "idempotency-replayed" not in answer.headers]) == 1
    # Whoever came while the first was still on its way is told to come back.
    assert {jobs.problem(answer, 409)["code"] for answer in others} <= {"request_in_flight"}
    assert jobs.accepted(await submit(http, key))["id"] == jobs.accepted(winners[0])["id"]


async def test_a_replay_with_wait_brings_the_finished_job(http: httpx.AsyncClient, key: str) -> None:
    first = jobs.accepted(await submit(http, key))
    request = digits.request(digits.images(1))
    headers = {"idempotency-key": key, "prefer": "wait=30"}
    again = await http.post("/v1/models/digits/jobs", json=request, headers=headers)
    assert again.status_code == 200, again.text
    assert again.headers["idempotency-replayed"] == "true"
    job = jobs.job_in(again)
    assert (job["id"], job["status"]) == (first["id"], "succeeded")


async def test_a_refused_request_does_not_spend_its_key(http: httpx.AsyncClient, key: str) -> None:
    headers = {"idempotency-key": key}
    refused = await http.post("/v1/models/digits/jobs", json={"instances": "seven"}, headers=headers)
    jobs.problem(refused, 400)
    jobs.accepted(await submit(http, key))
