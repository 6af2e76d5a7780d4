"""Canceling jobs, and jobs whose time runs out while no worker serves them."""

import httpx

from tests.acceptance import digits, jobs


async def test_a_queued_job_is_canceled_for_good(http: httpx.AsyncClient, parked: str) -> None:
    job = jobs.accepted(await http.post(f"/v1/models/{parked}/jobs", json={"instances": ["a"]}))
    answer = await http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 200, answer.text
    canceled = jobs.job_in(answer)
    assert (canceled["status"], canceled["done"]) == ("canceled", True)
    assert canceled["error"]["code"] == "canceled"
    assert canceled["completed_at"]
    # Once more changes nothing
    again = await http.post(f"/v1/jobs/{job['id']}/cancel")
    assert jobs.job_in(again) == canceled
    assert await jobs.read(http, job["id"]) == canceled
    error = jobs.problem(await http.get(f"/v1/jobs/{job['id']}/result"), 409)
    assert error["code"] == "canceled"


async def test_a_job_that_has_ended_stays_as_it_ended(http: httpx.AsyncClient) -> None:
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(digits.images(1))))
    ended = await jobs.succeeded(http, job["id"])
    answer = await http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 200
    assert jobs.job_in(answer) == ended


async def test_a_job_that_no_worker_serves_fails_at_its_deadline(http: httpx.AsyncClient, parked: str) -> None:
    answer = await http.post(f"/v1/models/{parked}/jobs", params={"timeout_s": 1}, json={"instances": ["a"]})
    ended = await jobs.ended(http, jobs.accepted(answer)["id"])
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == "deadline_exceeded"
    error = jobs.problem(await http.get(f"/v1/jobs/{ended['id']}/result"), 504)
    assert error["code"] == "deadline_exceeded"


async def test_an_unknown_job_is_not_found_wherever_it_is_asked_for(http: httpx.AsyncClient) -> None:
    for job_id in ("job_0123456789abcdef0123456789abcdef", "no-such-job", "a" * 200, "%00", "job_%F0%9F%98%80"):
        for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel")):
            answer = await http.request(method, f"/v1/jobs/{job_id}{path}")
            assert jobs.problem(answer, 404)["code"] == "job_not_found"
