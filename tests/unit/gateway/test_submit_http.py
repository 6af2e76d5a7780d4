import asyncio
import gzip
import io
from typing import Any

import httpx
import msgspec
import numpy as np
import orjson
import pytest
from PIL import Image

from runtime.apart import Apart
from schemas.errors import OutcomeUnknown, PayloadTooLarge, QueueUnavailable, StoreUnavailable
from schemas.examples import PNG
from schemas.images import Images
from schemas.jobs import Answer, Status
from schemas.oip import parse_request
from schemas.topics import Lane, LaneClass
from tests.unit.gateway.house import (
    BASE_URL,
    DIGITS,
    INPUT,
    LIVE,
    SUBMIT,
    VECTOR,
    House,
    binary_request,
    encoded,
    entry,
    opened,
    problem,
)
from tests.waiting import eventually

JSON = {"content-type": "application/json"}
FORM = "application/x-www-form-urlencoded"
PATH = "/v1/models/vector/jobs"
DEEP = b"[" * 100_000 + b"]" * 100_000


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (16, 16), 255).save(file, "PNG")
    return file.getvalue()


async def test_a_submit_is_accepted_with_all_that_a_poller_needs(house: House, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs", json=SUBMIT | {"metadata": {"order": "17"}})

    job_id = answer.json()["id"]
    url = f"{BASE_URL}/v1/jobs/{job_id}"
    assert answer.status_code == 202
    assert answer.headers["location"] == url
    assert answer.headers["operation-location"] == url
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "preference-applied" not in answer.headers
    assert "idempotency-replayed" not in answer.headers
    assert answer.json() == {
        "id": job_id,
        "object": "job",
        "status": "queued",
        "done": False,
        "model": "vector",
        "model_version": "2",
        "variant": None,
        "route_revision": None,
        "batch_id": None,
        "created_at": "2026-01-02T03:04:05.678000Z",
        "started_at": None,
        "completed_at": None,
        "expires_at": "2026-01-02T03:14:05.678000Z",
        "result": None,
        "error": None,
        "metadata": {"order": "17"},
        "urls": {"get": url, "cancel": f"{url}/cancel", "result": f"{url}/result", "events": f"{url}/events"},
    }


async def test_an_accepted_job_stands_in_the_store_and_in_its_lane(house: House, client: httpx.AsyncClient) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await client.post("/v1/jobs", content=encoded(SUBMIT), headers=JSON | {"traceparent": trace})

    job = await house.job(answer.json()["id"])
    (record,) = house.records()
    assert (job.status, job.rows, job.answer) == (Status.QUEUED, 1, Answer.TENSORS)
    assert (record.id, record.created_at, record.expires_at) == (job.id, job.created_at, job.expires_at)
    assert (record.model, record.version, record.lane) == ("vector", "2", LaneClass.LIVE)
    assert parse_request(VECTOR, record.payload).inputs["x"].tolist() == [[1.0, 2.0]]
    assert record.traceparent == trace


async def test_a_malformed_trace_is_left_behind(house: House, client: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs", json=SUBMIT, headers={"traceparent": "00-evil-01"})
    assert house.records()[0].traceparent is None


@pytest.mark.parametrize(
    ("path", "version"), [("/v1/models/vector/jobs", "2"), ("/v1/models/vector/versions/1/jobs", "1")]
)
async def test_the_bare_input_is_taken_at_the_models_own_path(
    house: House, client: httpx.AsyncClient, path: str, version: str
) -> None:
    answer = await client.post(path, content=encoded(INPUT), params={"lane": "bulk", "timeout_s": "5"}, headers=JSON)

    assert answer.status_code == 202
    assert answer.json()["model_version"] == version
    assert answer.json()["expires_at"] == "2026-01-02T03:04:10.678000Z"
    (record,) = house.records(Lane("vector", version, LaneClass.BULK))
    assert parse_request(VECTOR, record.payload).inputs["x"].tolist() == [[1.0, 2.0]]


async def test_json_is_assumed_where_no_content_type_is_given(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, content=encoded(INPUT))).status_code == 202
    assert (await client.post("/v1/jobs", content=encoded(SUBMIT))).status_code == 202


async def test_raw_tensors_travel_as_they_came(house: House, client: httpx.AsyncClient) -> None:
    body, headers = binary_request()
    for content_type in ({}, {"content-type": "application/json"}, {"content-type": "application/octet-stream"}):
        sent = {"inference-header-content-length": headers["inference-header-content-length"]} | content_type
        assert (await client.post(PATH, content=body, headers=sent)).status_code == 202
    payloads = [record.payload for record in house.records()]
    assert {payload.value for payload in payloads} == {body}
    assert {payload.content_type for payload in payloads} == {"application/octet-stream"}
    assert {payload.json_length for payload in payloads} == {int(headers["inference-header-content-length"])}


@pytest.mark.parametrize(
    "payload",
    [
        {"instances": [[1.0, 2.0]]},
        {"features": {"age": 1.0, "height": 2.0}},
        {"features": [{"age": 1.0, "height": 2.0}]},
    ],
)
async def test_instances_and_features_become_tensors(
    house: House, client: httpx.AsyncClient, payload: dict[str, Any]
) -> None:
    assert (await client.post("/v1/jobs", json=SUBMIT | {"input": payload})).status_code == 202
    (record,) = house.records()
    assert record.answer is Answer.PREDICTIONS
    np.testing.assert_array_equal(parse_request(VECTOR, record.payload).inputs["x"], [[1.0, 2.0]])


async def test_an_image_becomes_a_tensor_however_it_is_sent(house: House, client: httpx.AsyncClient) -> None:
    bare = await client.post("/v1/models/digits/jobs", content=png(), headers={"content-type": "image/png"})
    form = await client.post("/v1/models/digits/jobs", files={"image": ("digit.png", png(), "image/png")})
    untold = await client.post("/v1/models/digits/jobs", files={"image": ("digit", png(), "application/octet-stream")})

    assert [answer.status_code for answer in (bare, form, untold)] == [202, 202, 202]
    records = house.records(Lane("digits", "1", LaneClass.LIVE))
    assert len({record.payload.value for record in records}) == 1
    np.testing.assert_array_equal(parse_request(DIGITS, records[0].payload).inputs["image"], np.ones((1, 8, 8)))


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_compressed_body_is_taken(client: httpx.AsyncClient, encoding: str) -> None:
    body = encoded(SUBMIT) if encoding == "identity" else gzip.compress(encoded(SUBMIT))
    answer = await client.post("/v1/jobs", content=body, headers=JSON | {"content-encoding": encoding})
    assert answer.status_code == 202


async def test_an_unknown_model_is_answered_with_those_there_are(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/models/nope/jobs", json=INPUT)
    assert "digits, vector" in problem(answer, 404, "model_not_found", "model")["detail"]


async def test_a_body_too_large_is_refused() -> None:
    async with opened(House(gateway_max_body_bytes=1024)) as client:
        announced = await client.post("/v1/jobs", content=b"x" * 1025, headers=JSON)
        problem(announced, 413, "payload_too_large")

        async def pieces() -> Any:
            for _ in range(3):
                yield b"x" * 512

        problem(await client.post("/v1/jobs", content=pieces(), headers=JSON), 413, "payload_too_large")
        bomb = gzip.compress(b" " * 2000)
        unpacked = await client.post("/v1/jobs", content=bomb, headers=JSON | {"content-encoding": "gzip"})
        problem(unpacked, 413, "payload_too_large")


async def test_a_full_lane_is_answered_with_when_to_come_back() -> None:
    house = House(gateway_max_lane_depth=1)
    async with opened(house) as client:
        await house.submitted(client)
        answer = await client.post("/v1/jobs", json=SUBMIT)
        problem(answer, 429, "lane_full")
        assert answer.headers["retry-after"] == "10"
        assert answer.headers["ratelimit-policy"] == '"lane";q=1'
        assert answer.headers["ratelimit"] == '"lane";r=0;t=10'
        assert (await client.post("/v1/jobs", json=SUBMIT | {"lane": "bulk"})).status_code == 202
        assert len(house.records()) == 1


async def test_more_submits_than_the_gateway_may_hold_are_turned_away() -> None:
    house = House(gateway_max_in_flight=1)
    async with opened(house) as client:
        house.app.admitting.in_flight += 1
        answer = await client.post("/v1/jobs", json=SUBMIT)
        house.app.admitting.in_flight -= 1
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 202


async def test_more_bytes_than_the_gateway_may_hold_are_turned_away() -> None:
    house = House()
    async with opened(house) as client:
        with house.budget.hold("tests") as others:
            others.grow(house.budget.limit_bytes - 10)
            answer = await client.post("/v1/jobs", json=SUBMIT)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 202
        assert house.budget.held_bytes == 0


async def test_an_input_that_is_too_large_only_as_tensors_is_refused_in_the_callers_terms() -> None:
    house = House(max_record_bytes=64 * 1024, blobs_url=None)
    async with opened(house) as client:
        answer = await client.post("/v1/models/vector/jobs", json={"instances": [[1, 2]] * 8_000})
        detail = problem(answer, 413, "payload_too_large", "input")["detail"]
        assert "64" in detail
        assert "as tensors" in detail
        assert "record" not in detail
        assert (await client.post("/v1/models/vector/jobs", json={"instances": [[1, 2]] * 7_000})).status_code == 202


async def test_images_that_are_too_large_together_are_refused_before_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Images, "row", lambda *_: pytest.fail("one was read"))
    house = House(max_record_bytes=64 * 1024, blobs_url=None)
    async with opened(house) as client:
        answer = await client.post("/v1/models/digits/jobs", json={"instances": [{"b64": PNG}] * 241})
        detail = problem(answer, 413, "payload_too_large", "input")["detail"]
        assert "takes 61696 bytes as tensors" in detail


@pytest.mark.parametrize(("path", "document"), [("/v1/jobs", SUBMIT), ("/v1/models/vector/jobs", INPUT)])
async def test_a_byte_order_mark_before_json_is_passed_over(
    house: House, client: httpx.AsyncClient, path: str, document: Any
) -> None:
    answer = await client.post(path, content=b"\xef\xbb\xbf" + encoded(document), headers=JSON)
    assert answer.status_code == 202, answer.text
    (record,) = house.records()
    assert parse_request(VECTOR, record.payload).inputs["x"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("submitted", "by_the_reader"),
    [
        (INPUT, False),
        ({"features": {"age": 1, "height": 2}}, True),
        ({"inputs": [INPUT["inputs"][0] | {"shape": [10_000, 2], "data": [1.5] * 20_000}]}, True),
    ],
    ids=["small and common", "another form", "large"],
)
async def test_only_what_may_take_long_goes_to_the_reader(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, submitted: Any, by_the_reader: bool
) -> None:
    reader, read = house.submissions._reader, list[int]()

    async def run(payload_bytes: int, *args: Any, run: Any = reader.run, **options: Any) -> Any:
        read.append(payload_bytes)
        return await run(payload_bytes, *args, **options)

    monkeypatch.setattr(reader, "run", run)
    answer = await client.post("/v1/jobs", json={"model": "vector", "input": submitted})
    assert answer.status_code == 202
    assert bool(read) is by_the_reader
    (record,) = house.records()
    assert parse_request(VECTOR, record.payload).rows == (await house.job(answer.json()["id"])).rows


async def test_a_large_input_that_the_process_has_no_room_to_check_is_turned_away() -> None:
    house = House()
    rows = [[1.0, 2.0]] * 40_000
    async with opened(house) as client:
        with house.budget.hold("tests") as others:
            others.grow(house.budget.limit_bytes - 4 * 1024 * 1024)
            answer = await client.post("/v1/models/vector/jobs", json={"instances": rows})
        problem(answer, 503, "unavailable")
        assert (await client.post("/v1/models/vector/jobs", json={"instances": rows})).status_code == 202
    assert house.budget.held_bytes == 0


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (QueueUnavailable("topic penstock.lane.vector.2.live.v1 does not exist"), 503, "queue_unavailable"),
        (OutcomeUnknown("no answer in 10 s"), 503, "outcome_unknown"),
        (PayloadTooLarge("the record has 9 bytes; the limit is 8"), 413, "payload_too_large"),
    ],
)
async def test_a_job_that_cannot_be_sent_leaves_no_row(
    house: House, client: httpx.AsyncClient, failure: Any, status: int, code: str
) -> None:
    house.log.fail_next.append(failure)
    answer = await client.post("/v1/jobs", json=SUBMIT)
    document = problem(answer, status, code)
    assert "penstock.lane" not in document["detail"]
    assert ("retry-after" in answer.headers) == (status == 503)
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_a_row_that_cannot_be_taken_back_at_once_is_taken_back_later(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.log.fail_next.append(QueueUnavailable("gone"))
    insert = house.store.insert

    async def insert_then_fail(*given: Any) -> Any:
        admission = await insert(*given)
        house.store.fail_next += [StoreUnavailable("gone"), StoreUnavailable("gone")]
        return admission

    monkeypatch.setattr(house.store, "insert", insert_then_fail)
    problem(await client.post("/v1/jobs", json=SUBMIT), 503, "queue_unavailable")
    await house.submissions.drain()
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_a_store_that_is_away_is_told_without_its_secrets(house: House, client: httpx.AsyncClient) -> None:
    house.store.fail_next.append(StoreUnavailable("password wrong for 10.1.2.3"))
    document = problem(await client.post("/v1/jobs", json=SUBMIT), 503, "store_unavailable")
    assert "10.1.2.3" not in orjson.dumps(document).decode()
    assert house.log.topics == {}


async def test_an_insert_of_unknown_outcome_is_taken_back(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = house.store.insert

    async def insert_and_lose_the_answer(*given: Any) -> Any:
        await insert(*given)
        raise StoreUnavailable("no answer in time", perhaps_done=True)

    monkeypatch.setattr(house.store, "insert", insert_and_lose_the_answer)
    problem(await client.post("/v1/jobs", json=SUBMIT), 503, "store_unavailable")
    await house.submissions.drain()
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_a_row_that_the_store_never_takes_back_is_given_up(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def withdraw(*_: Any) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(house.store, "withdraw", withdraw)
    house.log.fail_next.append(QueueUnavailable("gone"))
    problem(await client.post("/v1/jobs", json=SUBMIT), 503, "queue_unavailable")
    await house.submissions.drain()
    (job,) = (await client.get("/v1/jobs")).json()["data"]
    assert job["status"] == "queued"  # until its deadline


async def test_a_fault_of_ours_is_a_500_without_its_secrets(house: House, client: httpx.AsyncClient) -> None:
    house.store.fail_next.append(RuntimeError("secret"))
    document = problem(await client.post("/v1/jobs", json=SUBMIT), 500, "internal")
    assert "secret" not in orjson.dumps(document).decode()
    assert house.app.admitting.in_flight == 0


async def test_a_submit_whose_client_left_is_carried_to_its_end(house: House) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    publish = house.log.publish

    async def slow_publish(record: Any) -> None:
        entered.set()
        await go_on.wait()
        await publish(record)

    house.log.publish = slow_publish  # type: ignore[method-assign]
    async with opened(house) as client:
        request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT))
        await entered.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        go_on.set()
        await house.submissions.drain()
        (job,) = (await client.get("/v1/jobs")).json()["data"]
        assert [record.id for record in house.records()] == [job["id"]]
        assert house.app.admitting.in_flight == 0


async def test_a_client_that_leaves_amid_its_body_costs_nothing(house: House) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "query_string": b"", "headers": []}
    await house.app(scope, receive, send)
    assert sent == []
    await eventually(lambda: house.app.admitting.in_flight == 0)
    assert house.log.topics == {}


@pytest.mark.parametrize("json_bytes", [5, 99_999, 10**17])
async def test_a_length_of_json_beyond_the_body_is_refused_and_takes_no_memory(
    client: httpx.AsyncClient, json_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Apart, "call", lambda *_: pytest.fail("it was read apart"))
    headers = {"inference-header-content-length": str(json_bytes)}
    answer = await client.post("/v1/models/vector/jobs", content=b"{}{}", headers=headers)
    refusal = problem(answer, 400, "invalid_input", "Inference-Header-Content-Length")
    assert f"is {json_bytes}, but the body has 4 bytes" in refusal["detail"]


async def test_how_long_a_job_is_kept_is_its_own_to_say_and_its_models(client: httpx.AsyncClient, house: House) -> None:
    await client.post("/v1/jobs", json=SUBMIT | {"retention_s": 3600})
    await client.post(PATH, content=encoded(INPUT), params={"retention_s": "60"}, headers=JSON)
    house.catalog.snapshot = house.catalog.snapshot.with_entry(
        msgspec.structs.replace(entry("vector", "2", VECTOR), retention_s=86_400)
    )
    await client.post("/v1/jobs", json=SUBMIT)
    await client.post("/v1/jobs", json=SUBMIT | {"retention_s": 61})

    sent = {record.id: record.retention_s for record in house.records(LIVE)}
    jobs = await house.store.list("default", after=None, limit=9, status=None)
    assert sorted(job.retention_s or 0 for job in jobs) == [60, 61, 3600, 86_400]
    assert sent == {job.id: job.retention_s for job in jobs}


@pytest.mark.parametrize("retention_s", [59, 30 * 86_400 + 1])
async def test_a_time_to_be_kept_that_no_client_may_ask_for_is_refused(
    client: httpx.AsyncClient, retention_s: int
) -> None:
    for answer in (
        await client.post("/v1/jobs", json=SUBMIT | {"retention_s": retention_s}),
        await client.post(PATH, content=encoded(INPUT), params={"retention_s": str(retention_s)}, headers=JSON),
    ):
        problem(answer, 400, "invalid_request", "retention_s")
        assert "between 60 and 2592000 seconds" in answer.text


async def test_until_when_a_job_is_kept_is_told_once_it_has_ended(client: httpx.AsyncClient, house: House) -> None:
    submitted = (await client.post("/v1/jobs", json=SUBMIT | {"retention_s": 60})).json()
    assert "keep_until" not in submitted
    canceled = (await client.post(f"/v1/jobs/{submitted['id']}/cancel")).json()
    assert canceled["keep_until"] == "2026-01-02T03:05:05.678901Z"
