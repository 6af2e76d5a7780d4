import httpx
import msgspec
import pytest

from schemas.errors import DeadlineExceeded, ErrorBody, JobError, StoreUnavailable
from schemas.jobs import Status
from stores.protocols import JobKey
from tests.unit.gateway.house import (
    BASE_URL,
    NOW,
    PREDICTIONS,
    RAW_RESULT,
    RESULT,
    SUBMIT,
    TENANT,
    House,
    problem,
)

NO_JOB = "job_00000000000000000000000000000000"


async def test_a_job_is_read_with_its_tag_and_when_to_come_back(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    answer = await client.get(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["etag"].startswith('"')
    again = await client.get(f"/v1/jobs/{job_id}", headers={"if-none-match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-length" not in again.headers


async def test_an_ended_job_carries_its_result_and_is_not_to_be_polled(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    before = await client.get(f"/v1/jobs/{job_id}")
    await house.finish(job_id, result=RAW_RESULT)
    answer = await client.get(f"/v1/jobs/{job_id}", headers={"if-none-match": before.headers["etag"]})
    assert answer.status_code == 200
    assert "retry-after" not in answer.headers
    document = answer.json()
    assert (document["done"], document["completed_at"]) == (True, "2026-01-02T03:04:05.678901Z")
    assert document["result"]["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1], "data": [3.0]}]


@pytest.mark.parametrize("job_id", [NO_JOB, "x" * 200, "%00", "a%2Fb", "ä", "job%20x"])
@pytest.mark.parametrize("suffix", ["", "/result", "/events"])
async def test_a_job_that_is_not_there_is_not_found(client: httpx.AsyncClient, job_id: str, suffix: str) -> None:
    answer = await client.get(f"/v1/jobs/{job_id}{suffix}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_job_of_another_tenant_is_not_found(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    job = await house.job(job_id)
    await house.store.withdraw(job)
    await house.store.insert(msgspec.structs.replace(job, tenant="other"))
    for answer in (
        await client.get(f"/v1/jobs/{job_id}"),
        await client.get(f"/v1/jobs/{job_id}/result"),
        await client.get(f"/v1/jobs/{job_id}/events"),
        await client.post(f"/v1/jobs/{job_id}/cancel"),
    ):
        problem(answer, 404, "job_not_found", "id")
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_jobs_are_listed_newest_first_page_by_page(house: House, client: httpx.AsyncClient) -> None:
    ids = sorted([await house.submitted(client) for _ in range(5)], reverse=True)
    first = (await client.get("/v1/jobs", params={"limit": 2})).json()
    assert (first["object"], first["has_more"]) == ("list", True)
    assert [job["id"] for job in first["data"]] == ids[:2]
    rest = (await client.get("/v1/jobs", params={"limit": 3, "after": ids[1]})).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[2:], False)


async def test_jobs_are_listed_by_status_and_without_results(house: House, client: httpx.AsyncClient) -> None:
    ended = await house.submitted(client)
    await house.submitted(client)
    await house.finish(ended)
    (job,) = (await client.get("/v1/jobs", params={"status": "succeeded"})).json()["data"]
    assert (job["id"], job["result"]) == (ended, None)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"status": "done"}, "status"),
        ({"after": "no id"}, "after"),
        ({"after": "\0"}, "after"),
    ],
)
async def test_a_list_with_a_wrong_parameter_is_refused(
    client: httpx.AsyncClient, params: dict[str, str], param: str
) -> None:
    problem(await client.get("/v1/jobs", params=params), 400, "invalid_request", param)


async def test_a_page_after_a_job_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/jobs", params={"after": "job_none"}), 404, "job_not_found", "after")


async def test_the_result_alone_is_json(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    answer = await client.get(f"/v1/jobs/{job_id}/result")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "accept"
    assert answer.json()["outputs"][0]["data"] == [3.0]


@pytest.mark.parametrize("raw", [False, True])
async def test_the_result_alone_is_raw_tensors_where_asked(house: House, client: httpx.AsyncClient, raw: bool) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id, result=RAW_RESULT if raw else RESULT)
    answer = await client.get(f"/v1/jobs/{job_id}/result", headers={"accept": "application/octet-stream"})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["inference-header-content-length"] == str(RAW_RESULT.json_length)
    assert answer.content == RAW_RESULT.value


async def test_predictions_are_json_only(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id, result=PREDICTIONS)
    url = f"/v1/jobs/{job_id}/result"
    assert (await client.get(url)).json() == {"predictions": ["three"]}
    problem(await client.get(url, headers={"accept": "application/octet-stream"}), 406, "not_acceptable", "Accept")


async def test_a_result_in_no_form_there_is_is_not_acceptable(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    problem(
        await client.get(f"/v1/jobs/{job_id}/result", headers={"accept": "text/html"}), 406, "not_acceptable", "Accept"
    )


async def test_a_result_that_is_not_there_yet_says_when_to_come_back(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    answer = await client.get(f"/v1/jobs/{job_id}/result")
    problem(answer, 409, "result_not_ready")
    assert answer.headers["retry-after"] == "1"


async def test_a_result_can_be_waited_for(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    answer = await client.get(f"/v1/jobs/{job_id}/result", headers={"prefer": "wait=5"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=5")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JobError("the model raised").body(), 500),
        (DeadlineExceeded("too late").body(), 504),
        (ErrorBody("invalid_input", "x is wrong", "invalid_request_error", "x"), 400),
    ],
)
async def test_the_result_of_a_failed_job_is_its_error(
    house: House, client: httpx.AsyncClient, error: ErrorBody, status: int
) -> None:
    job_id = await house.submitted(client)
    await house.fail(job_id, error)
    document = problem(await client.get(f"/v1/jobs/{job_id}/result"), status, error.code, error.param)
    assert document["detail"] == error.message
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (job["status"], job["error"]["code"]) == ("failed", error.code)


async def test_a_job_is_canceled_and_the_workers_are_told(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    answer = await client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["done"]) == (200, "canceled", True)
    key, expires_at = await anext(aiter(house.signals.canceled()))
    assert (key, expires_at) == (JobKey(TENANT, job_id), (await house.job(job_id)).expires_at)
    problem(await client.get(f"/v1/jobs/{job_id}/result"), 409, "canceled")
    again = await client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "canceled")


async def test_a_cancel_that_comes_too_late_changes_nothing(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    answer = await client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, Status.SUCCEEDED)
    assert house.signals.cancels == []


async def test_a_job_is_canceled_although_nobody_can_be_told(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    house.signals.down = True
    assert (await client.post(f"/v1/jobs/{job_id}/cancel")).json()["status"] == "canceled"


async def test_a_job_that_is_not_there_cannot_be_canceled(client: httpx.AsyncClient) -> None:
    problem(await client.post(f"/v1/jobs/{NO_JOB}/cancel"), 404, "job_not_found", "id")


async def test_a_store_that_is_away_is_a_503(house: House, client: httpx.AsyncClient) -> None:
    house.store.fail_next.append(StoreUnavailable("secret"))
    answer = await client.get(f"/v1/jobs/{NO_JOB}")
    assert "secret" not in problem(answer, 503, "store_unavailable")["detail"]
    assert answer.headers["retry-after"] == "1"


async def test_a_running_job_shows_since_when(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.store.mark_running([JobKey(TENANT, job_id)], NOW)
    document = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (document["status"], document["done"]) == ("running", False)
    assert document["started_at"] == "2026-01-02T03:04:05.678901Z"
    assert document["urls"]["cancel"] == f"{BASE_URL}/v1/jobs/{job_id}/cancel"
    assert document["metadata"] == SUBMIT.get("metadata", {})
