"""Batches over HTTP: created, read, listed, cancelled, and what is final of them."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from schemas.batches import BatchStatus, Counts, Cursor, File, LineEnd, LineError, Part, PartKind, Purpose, new_file_id
from stores.batches import Beginning, Lead, Step
from stores.promises import Seen, VersionKey
from tests.unit.gateway.batches.sdk import sdk_over
from tests.unit.gateway.house import NOW, House, problem

ENDPOINT = "/v1/models/digits/jobs"
IN_AN_HOUR = (NOW + timedelta(hours=1)).isoformat()
FOUND = Beginning(total=3, model="digits", version="1", revision=None)


async def file_of(client: httpx.AsyncClient, lines: bytes = b"{}\n") -> str:
    answer = await client.post("/v1/files", data={"purpose": "batch"}, files={"file": lines})
    file_id: str = answer.json()["id"]
    return file_id


async def create(client: httpx.AsyncClient, lines: bytes = b"{}\n", **fields: Any) -> httpx.Response:
    body = {"input_file_id": await file_of(client, lines), "endpoint": ENDPOINT, "completion_window": "24h"}
    return await client.post("/v1/batches", json=body | fields)


async def lead_of(house: House) -> Lead:
    lead = await house.batch_work.lead("feeder")
    assert lead is not None
    return lead


async def finished(house: House, batch_id: str) -> None:
    """Two answers and an error, in two parts of answers, as a feeder writes them."""
    lead = await lead_of(house)
    assert await house.batch_work.begin(lead, batch_id, FOUND, NOW)
    lines = {"out/0": b'{"custom_id":"a"}\n', "out/1": b'{"custom_id":"b"}\n', "err/0": b'{"custom_id":"c"}\n'}
    for key, line in lines.items():
        await house.blobs.put(key, line)
    parts = [
        Part(kind=kind, number=number, key=f"{kind[:3]}/{number}", bytes=len(lines[f"{kind[:3]}/{number}"]), lines=1)
        for kind, number in ((PartKind.OUTPUT, 0), (PartKind.OUTPUT, 1), (PartKind.ERROR, 0))
    ]
    ends = {LineEnd.COMPLETED: 2, LineEnd.FAILED: 1}
    step = Step(batch_id=batch_id, before=Cursor(), after=Cursor(offset=3, line=4, block=1), ends=ends, parts=parts)
    assert await house.batch_work.advance(lead, step)


async def ended(house: House, batch_id: str) -> None:
    outputs = [
        File(
            tenant="default",
            id=new_file_id(),
            purpose=Purpose.BATCH_OUTPUT,
            filename=f"{kind}.jsonl",
            bytes=size,
            created_at=NOW,
            batch_id=batch_id,
            kind=kind,
        )
        for kind, size in ((PartKind.OUTPUT, 36), (PartKind.ERROR, 18))
    ]
    assert await house.batch_work.end(await lead_of(house), batch_id, BatchStatus.COMPLETED, outputs, NOW)


async def test_a_batch_lives_as_the_openai_client_expects(house: House, client: httpx.AsyncClient) -> None:
    sdk = sdk_over(client)
    file = await sdk.files.create(file=b"{}\n", purpose="batch")
    batch = await sdk.batches.create(
        input_file_id=file.id,
        endpoint=ENDPOINT,  # type: ignore[arg-type] # OpenAI's types list its own only
        completion_window="24h",
        metadata={"order": "17"},
    )
    assert (batch.status, batch.metadata, batch.errors) == ("validating", {"order": "17"}, None)
    assert (batch.created_at, batch.expires_at) == (int(NOW.timestamp()), int(NOW.timestamp()) + 86_400)

    await finished(house, batch.id)
    running = await sdk.batches.retrieve(batch.id)
    assert running.status == "in_progress"
    assert running.request_counts is not None
    assert (running.request_counts.total, running.request_counts.completed, running.request_counts.failed) == (3, 2, 1)

    await ended(house, batch.id)
    done = await sdk.batches.retrieve(batch.id)
    assert (done.status, done.completed_at) == ("completed", int(NOW.timestamp()))
    assert done.output_file_id is not None
    assert done.error_file_id is not None
    assert (await sdk.files.content(done.output_file_id)).text == '{"custom_id":"a"}\n{"custom_id":"b"}\n'
    assert (await sdk.files.content(done.error_file_id)).text == '{"custom_id":"c"}\n'
    assert [each.id async for each in sdk.batches.list(limit=1)] == [batch.id]
    assert (await sdk.batches.cancel(batch.id)).status == "completed"
    assert (await sdk.files.retrieve(done.output_file_id)).purpose == "batch_output"


async def test_the_version_is_pinned_when_the_batch_is_created(client: httpx.AsyncClient) -> None:
    batch = (await create(client)).json()
    assert (batch["model"], batch["model_version"], batch["route_revision"]) == ("digits", "1", None)
    named = (await create(client, endpoint="/v1/models/digits/versions/1/jobs")).json()
    assert named["model_version"] == "1"
    later = (await create(client, endpoint="/v1/jobs")).json()
    assert (later["model"], later["model_version"]) == (None, None)


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"endpoint": "/v1/chat/completions"}, 400, "endpoint"),
        ({"endpoint": "/v1/models/../jobs"}, 400, "endpoint"),
        ({"endpoint": "https://example.com/v1/jobs"}, 400, "endpoint"),
        ({"endpoint": "/v1/models/nothing/jobs"}, 404, "model"),
        ({"endpoint": "/v1/models/digits/versions/9/jobs"}, 404, "version"),
        ({"completion_window": "0h"}, 400, "completion_window"),
        ({"completion_window": "31d"}, 400, "completion_window"),
        ({"completion_window": "a day"}, 400, "completion_window"),
        ({"metadata": {str(number): "" for number in range(17)}}, 400, "metadata"),
        ({"metadata": {"a": "x" * 513}}, 400, "metadata"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        ({"metadata": {"priority": "high"}}, 400, "metadata.priority"),
        ({"metadata": {"a": "a\0b"}}, 400, "metadata"),
        ({"priority": 2**40}, 400, "priority"),
        ({"priority": "1"}, 400, "priority"),
        ({"input_file_id": "file_0"}, 404, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, 400, "expires_after.seconds"),
        ({"not_before": "2999-01-01T00:00:00Z"}, 400, "not_before"),
        ({"not_before": "2026-12-01T00:00:00"}, 400, "not_before"),
        ({"deadline": "2999-01-01T00:00:00Z"}, 400, "deadline"),
        ({"deadline": "2000-01-01T00:00:00Z"}, 400, "deadline"),
        ({"deadline": "2026-12-01T00:00:00"}, 400, "deadline"),
        ({"deadline": IN_AN_HOUR, "not_before": IN_AN_HOUR}, 400, "deadline"),
        ({"deadline": IN_AN_HOUR, "endpoint": "/v1/jobs"}, 400, "deadline"),
        ({"deadline": IN_AN_HOUR, "input_file_id": "file_0"}, 404, "input_file_id"),
        ({"daily": "22-6"}, 400, "daily"),
        ({"color": "blue"}, 400, "color"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_its_name(
    house: House, client: httpx.AsyncClient, fields: dict[str, Any], status: int, param: str
) -> None:
    answer = await create(client, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert house.batch_state.open == {}
    assert await house.promises.all_standing() == []


async def test_a_deadline_is_promised(house: House, client: httpx.AsyncClient) -> None:
    """So many rows as its lines are thought to have, of the version that was chosen."""
    lines = b'{"body": {"instances": [[1], [2], [3]]}}\n' * 40
    answer = await create(client, lines, deadline=IN_AN_HOUR, not_before=NOW.isoformat(), daily="22:00-06:00")
    batch = answer.json()
    in_an_hour = int(NOW.timestamp()) + 3600
    assert (batch["deadline"], batch["daily"], batch["expires_at"]) == (in_an_hour, "22:00-06:00", in_an_hour + 82_800)
    (promise,) = await house.promises.all_standing()
    assert (promise.tenant, promise.id, promise.model, promise.version) == ("default", batch["id"], "digits", "1")
    assert (promise.rows, promise.deadline, promise.not_before) == (120, NOW + timedelta(hours=1), NOW)
    assert promise.daily == "22:00-06:00"


async def test_a_deadline_that_cannot_be_kept_is_refused_with_one_that_could(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.promises.learn({VersionKey("digits", "1"): Seen(1000.0, 1000.0)})
    lines = b'{"body": {"instances": [[1]]}}\n' * 3600
    answer = await create(client, lines, deadline=IN_AN_HOUR)
    assert problem(answer, 409, "deadline_unattainable", "deadline")
    assert house.batch_state.open == {}
    found = re.search(r"(\S+) is the earliest deadline that could be kept", answer.text)
    assert found
    assert (await create(client, lines, deadline=found[1])).status_code == 200
    assert len(await house.promises.all_standing()) == 1


async def test_what_was_promised_to_a_batch_that_is_not_made_is_given_back(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.batch_changes.MOST_OPEN_BATCHES", 0)
    assert (await create(client, deadline=IN_AN_HOUR)).status_code == 409
    assert await house.promises.all_standing() == []


async def test_while_the_promises_are_away_only_a_batch_with_a_deadline_is_refused(
    house: House, client: httpx.AsyncClient
) -> None:
    house.promises.down = True
    assert (await create(client, deadline=IN_AN_HOUR)).status_code == 503
    assert (await create(client)).status_code == 200


async def test_a_request_that_comes_again_with_its_key_makes_no_second_batch(
    house: House, client: httpx.AsyncClient
) -> None:
    body = {"input_file_id": await file_of(client), "endpoint": ENDPOINT, "completion_window": "24h"}
    body |= {"deadline": IN_AN_HOUR}
    headers = {"Idempotency-Key": "once"}
    first, again = [await client.post("/v1/batches", json=body, headers=headers) for _ in range(2)]
    assert first.json() == again.json()
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert len(house.batch_state.open) == len(await house.promises.all_standing()) == 1
    other = await client.post("/v1/batches", json=body | {"priority": 1}, headers=headers)
    problem(other, 422, "idempotency_mismatch", "Idempotency-Key")
    problem(
        await client.post("/v1/batches", json=body, headers={"Idempotency-Key": ""}),
        400,
        "invalid_request",
        "Idempotency-Key",
    )


async def test_what_is_ours_may_stand_in_the_metadata(client: httpx.AsyncClient) -> None:
    assert (await create(client, metadata={"priority": "-5"})).json()["priority"] == -5
    assert (await create(client, priority=7)).json()["priority"] == 7
    moment = (NOW + timedelta(hours=1)).isoformat()
    assert (await create(client, not_before=moment)).json()["not_before"] == int(NOW.timestamp()) + 3600


@pytest.mark.parametrize(("window", "seconds"), [("90m", 5400), ("24h", 86_400), ("7d", 604_800)])
async def test_a_window_is_any_number_of_minutes_hours_or_days(
    client: httpx.AsyncClient, window: str, seconds: int
) -> None:
    batch = (await create(client, completion_window=window)).json()
    assert batch["expires_at"] - batch["created_at"] == seconds


async def test_counts_always_add_up(house: House, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client)).json()["id"]
    assert (await client.get(f"/v1/batches/{batch_id}")).json()["request_counts"]["total"] == 0
    await finished(house, batch_id)
    counts = (await client.get(f"/v1/batches/{batch_id}")).json()["request_counts"]
    assert counts == {"total": 3, "completed": 2, "failed": 1, "expired": 0, "cancelled": 0, "processing": 0}


async def test_what_is_final_is_read_while_it_runs_each_line_once(house: House, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client)).json()["id"]
    url = f"/v1/batches/{batch_id}/results"
    nothing = await client.get(url)
    assert (nothing.status_code, nothing.text) == (200, "")
    await finished(house, batch_id)
    some = await client.get(url, params={"after": nothing.headers["penstock-next-after"]})
    assert some.text == '{"custom_id":"a"}\n{"custom_id":"b"}\n{"custom_id":"c"}\n'
    rest = await client.get(url, params={"after": some.headers["penstock-next-after"]})
    assert rest.text == ""
    assert (await client.get(url, params={"after": "1.1"})).text == '{"custom_id":"b"}\n'
    await ended(house, batch_id)
    assert (await client.get(url)).text == some.text
    for after in ("x", "1", "-1.0", "1.0.0", "9" * 20 + ".0"):
        problem(await client.get(url, params={"after": after}), 400, "invalid_request", "after")


async def test_results_that_were_deleted_are_gone(house: House, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client)).json()["id"]
    await finished(house, batch_id)
    await ended(house, batch_id)
    done = (await client.get(f"/v1/batches/{batch_id}")).json()
    await client.delete(f"/v1/files/{done['output_file_id']}")
    problem(await client.get(f"/v1/batches/{batch_id}/results"), 409, "conflict")
    assert (await client.get(f"/v1/files/{done['error_file_id']}/content")).text == '{"custom_id":"c"}\n'


async def test_the_errors_of_an_input_are_listed(house: House, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client)).json()["id"]
    errors = [LineError(code="duplicate_custom_id", message="'a' is there twice", line=2, param="custom_id")]
    await house.batch_work.refuse(await lead_of(house), batch_id, errors, 5, NOW)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["status"], batch["failed_at"]) == ("failed", int(NOW.timestamp()))
    told = {"code": "duplicate_custom_id", "line": 2, "message": "'a' is there twice", "param": "custom_id"}
    assert batch["errors"] == {"object": "list", "data": [told], "total": 5}


async def test_a_batch_is_cancelled_once(house: House, client: httpx.AsyncClient) -> None:
    batch_id = (await create(client)).json()["id"]
    for _ in range(2):
        answer = await client.post(f"/v1/batches/{batch_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelling")
    assert house.batch_state.open[batch_id].batch.counts == Counts()


async def test_what_is_no_batch_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("", "/results"):
        problem(await client.get(f"/v1/batches/batch_0{path}"), 404, "batch_not_found")
    problem(await client.post("/v1/batches/batch_0/cancel"), 404, "batch_not_found")
