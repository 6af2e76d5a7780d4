from typing import Any

import httpx
import pytest

from schemas.errors import JobError, OutcomeUnknown, QueueUnavailable, StoreUnavailable
from schemas.versions import CatalogSnapshot
from tests.unit.gateway.house import DIGITS, INPUT, SUBMIT, House, encoded, entry, opened, problem

KEY = {"idempotency-key": '"order-17"'}
VOLATILE = {"idempotency-replayed"}


def same(first: httpx.Response, again: httpx.Response) -> None:
    assert again.status_code == first.status_code
    assert again.content == first.content
    assert {k: v for k, v in again.headers.items() if k not in VOLATILE} == dict(first.headers)
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_same_key_and_body_give_the_first_answer_again(house: House, client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    same(first, await client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    assert len(house.records()) == 1


async def test_a_key_is_the_same_quoted_or_bare(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    same(first, await client.post("/v1/jobs", json=SUBMIT, headers={"idempotency-key": "order-17"}))


@pytest.mark.parametrize("failed", [False, True])
async def test_the_first_answer_is_given_again_after_the_job_has_ended(
    house: House, client: httpx.AsyncClient, failed: bool
) -> None:
    first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    job_id = first.json()["id"]
    await (house.fail(job_id, JobError("no").body()) if failed else house.finish(job_id))
    same(first, await client.post("/v1/jobs", json=SUBMIT, headers=KEY))


async def test_a_retry_that_waits_gets_the_finished_job(house: House, client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    await house.finish(first.json()["id"])
    again = await client.post("/v1/jobs", json=SUBMIT, headers=KEY | {"prefer": "wait=5"})
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", SUBMIT | {"timeout_s": 5}),
        ("/v1/models/vector/jobs", INPUT),
        ("/v1/models/vector/jobs?lane=bulk", INPUT),
    ],
)
async def test_the_same_key_with_another_request_is_refused(client: httpx.AsyncClient, path: str, body: Any) -> None:
    await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    problem(await client.post(path, json=body, headers=KEY), 422, "idempotency_mismatch", "Idempotency-Key")


@pytest.mark.parametrize("failure", [QueueUnavailable("gone"), OutcomeUnknown("no answer")])
async def test_a_retry_after_a_failed_send_runs_under_the_same_id(
    house: House, client: httpx.AsyncClient, failure: Any
) -> None:
    house.log.fail_next.append(failure)
    problem(await client.post("/v1/jobs", json=SUBMIT, headers=KEY), 503, failure.code)
    again = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    assert again.status_code == 202
    assert "idempotency-replayed" not in again.headers
    (record,) = house.records()
    ids = {known.job_id for known in house.store._taken.values()}
    assert ids == {record.id} == {again.json()["id"]}


async def test_a_store_that_fails_to_confirm_does_not_cost_the_answer(house: House, client: httpx.AsyncClient) -> None:
    publish = house.log.publish

    async def publish_then_fail(record: Any) -> None:
        await publish(record)
        house.store.fail_next.append(StoreUnavailable("gone"))

    house.log.publish = publish_then_fail  # type: ignore[method-assign]
    first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    assert first.status_code == 202
    await house.submissions.drain()
    same(first, await client.post("/v1/jobs", json=SUBMIT, headers=KEY))


async def test_a_refused_request_leaves_its_key_free(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/jobs", content=b"{}", headers=KEY), 400, "invalid_request", "model")
    assert (await client.post("/v1/jobs", json=SUBMIT, headers=KEY)).status_code == 202


async def test_two_keys_in_one_request_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
    answer = await client.post("/v1/jobs", content=encoded(SUBMIT), headers=headers)
    problem(answer, 400, "invalid_request", "Idempotency-Key")


async def test_a_request_that_was_answered_is_answered_again_after_its_model_has_gone(
    house: House, client: httpx.AsyncClient
) -> None:
    first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    house.catalog.snapshot = CatalogSnapshot()
    problem(await client.post("/v1/jobs", json=SUBMIT), 404, "model_not_found", "model")
    same(first, await client.post("/v1/jobs", json=SUBMIT, headers=KEY))
    other = await client.post("/v1/jobs", json=SUBMIT | {"timeout_s": 5}, headers=KEY)
    problem(other, 422, "idempotency_mismatch", "Idempotency-Key")


async def test_a_request_that_was_answered_is_answered_again_while_its_lane_is_full() -> None:
    house = House(gateway_max_lane_depth=1)
    async with opened(house) as client:
        first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
        problem(await client.post("/v1/jobs", json=SUBMIT, headers={"idempotency-key": "another"}), 429, "lane_full")
        same(first, await client.post("/v1/jobs", json=SUBMIT, headers=KEY))


async def test_a_request_that_was_answered_is_answered_again_after_its_models_signature_has_changed(
    house: House, client: httpx.AsyncClient
) -> None:
    first = await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    house.catalog.snapshot = CatalogSnapshot().with_entry(entry("vector", "3", DIGITS))
    assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 400
    same(first, await client.post("/v1/jobs", json=SUBMIT, headers=KEY))


async def test_a_store_that_cannot_say_whether_a_refused_request_was_answered_is_told(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/jobs", json=SUBMIT, headers=KEY)
    house.catalog.snapshot = CatalogSnapshot()
    house.store.fail_next.append(StoreUnavailable("gone"))
    problem(await client.post("/v1/jobs", json=SUBMIT, headers=KEY), 503, "store_unavailable")
