"""Telling what answers were worth, over HTTP."""

from datetime import timedelta

import httpx
import pytest

from schemas.errors import JobError
from tests.unit.gateway.house import NOW, PREDICTIONS, House, encoded, problem


async def answered(house: House, client: httpx.AsyncClient) -> str:
    job_id = await house.submitted(client)
    await house.finish(job_id, result=PREDICTIONS)
    return job_id


async def test_what_is_told_is_answered_as_it_is_kept(house: House, client: httpx.AsyncClient) -> None:
    job_id = await answered(house, client)
    answer = await client.post(f"/v1/jobs/{job_id}/feedback", json={"reward": 0.25})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "object": "feedback",
        "job_id": job_id,
        "model": "vector",
        "model_version": "2",
        "variant": None,
        "reward": 0.25,
        "label": None,
        "predicted": None,
        "told_at": "2026-01-02T03:04:05.678901Z",
    }


async def test_a_label_says_right_or_wrong_and_the_last_one_counts(house: House, client: httpx.AsyncClient) -> None:
    job_id = await answered(house, client)
    found = [
        (await client.post(f"/v1/jobs/{job_id}/feedback", json={"label": label})).json() for label in ("three", "four")
    ]
    assert [(each["reward"], each["label"], each["predicted"]) for each in found] == [
        (1.0, "three", "three"),
        (0.0, "four", "three"),
    ]
    day = timedelta(days=1)
    (summed,) = await house.feedback.summed("vector", ["2"], "live", NOW - day, NOW + day, 0.5)
    assert (summed.jobs, summed.bad) == (1, 1)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "reward"),
        (b'{"reward":2}', "reward"),
        (b'{"reward":1,"label":"a"}', "reward"),
        (b'{"label":[]}', "label"),
        (b'{"rewad":1}', "rewad"),
        (b'{"reward":1,"job_id":"job_other"}', "job_id"),
        (b"hello", None),
        (b"", None),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_its_field(
    house: House, client: httpx.AsyncClient, body: bytes, param: str | None
) -> None:
    job_id = await answered(house, client)
    problem(await client.post(f"/v1/jobs/{job_id}/feedback", content=body), 400, "invalid_request", param)


async def test_a_job_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    for job_id in ("job_unknown", "a%20b"):
        problem(await client.post(f"/v1/jobs/{job_id}/feedback", json={"reward": 1}), 404, "job_not_found", "id")


async def test_a_job_without_an_answer_is_a_conflict(house: House, client: httpx.AsyncClient) -> None:
    waiting, canceled, broken = [await house.submitted(client) for _ in range(3)]
    await client.post(f"/v1/jobs/{canceled}/cancel")
    await house.fail(broken, JobError("the model raised").body())
    told = {
        job_id: await client.post(f"/v1/jobs/{job_id}/feedback", json={"reward": 1})
        for job_id in (waiting, canceled, broken)
    }
    problem(told[waiting], 409, "result_not_ready")
    assert "was canceled" in problem(told[canceled], 409, "conflict", "status")["detail"]
    assert "counted already" in problem(told[broken], 409, "conflict", "status")["detail"]


async def test_an_absent_store_is_told(house: House, client: httpx.AsyncClient) -> None:
    job_id = await answered(house, client)
    house.feedback.down = True
    answer = await client.post(f"/v1/jobs/{job_id}/feedback", content=encoded({"reward": 1}))
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]
