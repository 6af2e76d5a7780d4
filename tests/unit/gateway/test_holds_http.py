"""Holds over HTTP: what is set, counted and told, what new jobs and those that wait say of it."""

import asyncio
from typing import Any

import httpx

from schemas.errors import OutcomeUnknown
from schemas.hold_documents import decode_hold
from schemas.holds import Action, Hold
from stores.protocols import JobKey
from tests.unit.gateway.house import NOW, SUBMIT, TENANT, House, problem
from tests.unit.gateway.test_events_http import Stream
from tests.waiting import eventually, soon

URL = "/v1/holds"
HOLD = {"action": "hold", "model": "vector", "reason": "bad labels"}


def told(house: House) -> list[tuple[bytes | None, Hold | None]]:
    """What the topic was told, in order."""
    records = house.log.records(house.settings.topics.holds)
    assert {record.partition for record in records} <= {0}
    return [(record.key, None if record.value is None else decode_hold(record.value)) for record in records]


def follow(house: House) -> None:
    """Take in what the topic was told."""
    for record in house.log.records(house.settings.topics.holds):
        house.holds.apply(record.key or b"", record.value)


async def added(house: House, client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(URL, json=HOLD | fields)
    assert answer.status_code == 201, answer.text
    follow(house)
    document: dict[str, Any] = answer.json()
    return document


async def test_a_hold_is_set_counted_told_and_read(house: House, client: httpx.AsyncClient) -> None:
    await house.submitted(client)
    answer = await client.post(URL, json=HOLD | {"version": "2", "tenant": "default", "lane": "live"})
    document = answer.json()
    assert document == {
        "object": "hold",
        "id": document["id"],
        "action": "hold",
        "model": "vector",
        "version": "2",
        "tenant": "default",
        "lane": "live",
        "reason": "bad labels",
        "created_by": "default",
        "created_at": "2026-01-02T03:04:05.678901Z",
        "matched": 1,
    }
    assert (answer.status_code, answer.headers["location"].endswith(f"/v1/holds/{document['id']}")) == (201, True)
    ((key, hold),) = told(house)
    assert hold is not None
    assert (key, hold.id, hold.created_at) == (document["id"].encode(), document["id"], NOW)
    del document["matched"]
    assert (await client.get(URL)).json()["data"] == [document]
    assert (await client.get(f"{URL}/{document['id']}")).json() == document | {"waiting": 1}


async def test_a_dry_run_counts_and_changes_nothing(house: House, client: httpx.AsyncClient) -> None:
    await house.submitted(client)
    answer = await client.post(URL, json=HOLD, params={"dry_run": "true"})
    assert (answer.status_code, answer.json()) == (200, {"object": "hold_count", "matched": 1})
    assert (told(house), (await client.get(URL)).json()["data"]) == ([], [])
    assert (await client.get("/v1/audit")).json()["data"] == []


async def test_a_release_is_told_and_stands_in_the_audit_log(house: House, client: httpx.AsyncClient) -> None:
    hold = await added(house, client)
    answer = await client.delete(f"{URL}/{hold['id']}", params={"note": "labels are right"})
    assert (answer.status_code, answer.json()["id"]) == (200, hold["id"])
    assert told(house)[-1] == (hold["id"].encode(), None)
    page = (await client.get("/v1/audit", params={"limit": 1})).json()
    (newest,) = page["data"]
    assert (newest["verb"], newest["note"], newest["by"]) == ("release", "labels are right", "default")
    (older,) = (await client.get("/v1/audit", params={"after": page["next_after"]})).json()["data"]
    assert (older["verb"], older["hold"]["id"], older["note"]) == ("hold", hold["id"], "bad labels")


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    problem(await client.get(f"{URL}/hold_1"), 404, "hold_not_found", "id")
    problem(await client.delete(f"{URL}/hold_1"), 404, "hold_not_found", "id")


async def test_a_model_that_nobody_has_announced_is_refused_with_those_there_are(client: httpx.AsyncClient) -> None:
    for fields, param in (({"model": "vektor"}, "model"), ({"version": "9"}, "version")):
        for query in ({}, {"dry_run": "true"}):
            refused = await client.post(URL, json=HOLD | fields, params=query)
            problem(refused, 404, "model_not_found", param)
    assert (await client.post(URL, json={"action": "hold", "tenant": "nobody-yet"})).status_code == 201


async def test_what_breaks_a_rule_is_refused_by_its_name(client: httpx.AsyncClient) -> None:
    problem(await client.post(URL, json={"action": "hold"}), 400, "invalid_request", "model")
    problem(await client.post(URL, json=HOLD, params={"dryrun": "true"}), 400, "invalid_request", "dryrun")
    problem(await client.post(URL, content=b"{" + b" " * (256 * 1024)), 413, "payload_too_large")


async def test_a_hold_that_is_written_and_not_told_says_so(house: House, client: httpx.AsyncClient) -> None:
    house.log.fail_next = [OutcomeUnknown("secret")]
    refused = problem(await client.post(URL, json=HOLD), 503, "unavailable")
    assert "is written" in refused["detail"]
    assert len((await client.get(URL)).json()["data"]) == 1


async def test_a_store_that_is_away_is_told(house: House, client: httpx.AsyncClient) -> None:
    house.hold_store.down = True
    problem(await client.post(URL, json=HOLD), 503, "unavailable")
    problem(await client.get(URL), 503, "unavailable")
    problem(await client.get("/v1/audit"), 503, "unavailable")


async def test_new_jobs_are_refused_with_the_reason_and_when_to_try_again(
    house: House, client: httpx.AsyncClient
) -> None:
    hold = await added(house, client, action=Action.REFUSE)
    for url, body in (("/v1/jobs", SUBMIT), ("/v1/models/vector/jobs", SUBMIT["input"])):
        answer = await client.post(url, json=body)
        refused = problem(answer, 503, "admission_refused")
        assert refused["detail"] == "an operator has new jobs of model vector refused: bad labels"
        assert answer.headers["retry-after"] == "30"
    assert house.records() == []
    await client.delete(f"{URL}/{hold['id']}")
    follow(house)
    await house.submitted(client)


async def test_what_no_refusal_means_is_taken(house: House, client: httpx.AsyncClient) -> None:
    await added(house, client, action=Action.REFUSE, version="1")
    await added(house, client, action=Action.REFUSE, lane="bulk")
    await added(house, client, action=Action.HOLD)
    await added(house, client, action=Action.END)
    await house.submitted(client)


async def test_a_request_whose_key_is_known_is_answered_as_before_also_while_new_ones_are_refused(
    house: House, client: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": "k"}
    first = await client.post("/v1/jobs", json=SUBMIT, headers=key)
    await added(house, client, action=Action.REFUSE)
    again = await client.post("/v1/jobs", json=SUBMIT, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


async def test_a_job_that_is_held_says_by_which_hold_and_since_when(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    before = await client.get(f"/v1/jobs/{job_id}")
    assert "held" not in before.json()
    hold = await added(house, client)
    job = await client.get(f"/v1/jobs/{job_id}")
    held = {"id": hold["id"], "reason": "bad labels", "since": hold["created_at"]}
    assert (job.json()["status"], job.json()["held"]) == ("queued", held)
    assert "an operator holds the jobs of model vector: bad labels" in job.json()["notice"]
    assert job.headers["etag"] != before.headers["etag"]
    assert (await client.get("/v1/jobs")).json()["data"][0]["held"] == held
    await client.delete(f"{URL}/{hold['id']}")
    follow(house)
    assert "held" not in (await client.get(f"/v1/jobs/{job_id}")).json()


async def test_a_stream_tells_that_its_job_is_held_and_that_it_is_no_more(
    house: House, client: httpx.AsyncClient
) -> None:
    job_id = await house.submitted(client)
    stream = Stream(house, job_id)
    await eventually(lambda: stream.statuses == ["queued"])
    hold = await added(house, client)
    house.waiters.wake(JobKey(TENANT, job_id))
    await eventually(lambda: stream.statuses == ["queued", "queued"])
    assert hold["id"].encode() in stream.body
    await client.delete(f"{URL}/{hold['id']}")
    follow(house)
    house.waiters.wake(JobKey(TENANT, job_id))
    await eventually(lambda: stream.statuses == ["queued"] * 3)
    assert stream.body.count(b'"held"') == 1
    await house.finish(job_id)
    await soon(stream.task)


async def test_a_client_that_comes_back_to_a_stream_is_told_of_a_hold_only_what_is_new(
    house: House, client: httpx.AsyncClient
) -> None:
    job_id = await house.submitted(client)
    hold = await added(house, client)
    seen = (b"last-event-id", f"queued {hold['id']}".encode())
    again = Stream(house, job_id, seen)
    await eventually(lambda: b"heartbeat" in again.body)
    assert again.statuses == []
    await client.delete(f"{URL}/{hold['id']}")
    follow(house)
    back = Stream(house, job_id, seen)
    await eventually(lambda: back.statuses == ["queued"])
    assert b'"held"' not in back.body
    await house.finish(job_id)
    await soon(asyncio.gather(again.task, back.task))


async def test_a_job_that_has_ended_is_not_held(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    await added(house, client)
    assert "held" not in (await client.get(f"/v1/jobs/{job_id}")).json()
