import asyncio
import gzip
import io
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from PIL import Image

from schemas.errors import OutcomeUnknown, PayloadTooLarge, QueueUnavailable, StoreUnavailable
from schemas.jobs import Answer, Status
from schemas.oip import parse_request
from schemas.topics import Lane, LaneClass
from tests.unit.gateway.house import (
    BASE_URL,
    DIGITS,
    INPUT,
    SUBMIT,
    VECTOR,
    House,
    binary_request,
    encoded,
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
    assert record.payload.value == encoded(INPUT)
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
    assert record.payload.value == encoded(INPUT)


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


@pytest.mark.parametrize(
    ("content", "headers", "status", "code", "param"),
    [
        (b"", JSON, 400, "invalid_request", None),
        (b"{", JSON, 400, "invalid_request", None),
        (b"[]", JSON, 400, "invalid_request", None),
        (b"\xff", JSON, 400, "invalid_request", None),
        (DEEP, JSON, 400, "invalid_request", None),
        (b'{"model":"vector","input":' + DEEP + b"}", JSON, 400, "invalid_request", None),
        (encoded({"input": INPUT}), JSON, 400, "invalid_request", "model"),
        (encoded({"model": "vector"}), JSON, 400, "invalid_request", "input"),
        (encoded(SUBMIT | {"timeout": 5}), JSON, 400, "invalid_request", "timeout"),
        (encoded(SUBMIT | {"timeout_s": 0}), JSON, 400, "invalid_request", "timeout_s"),
        (encoded(SUBMIT | {"timeout_s": 604_801}), JSON, 400, "invalid_request", "timeout_s"),
        (encoded(SUBMIT | {"lane": "fast"}), JSON, 400, "invalid_request", "lane"),
        (encoded(SUBMIT | {"metadata": {"a": "\0"}}), JSON, 400, "invalid_request", "metadata"),
        (encoded(SUBMIT | {"metadata": {"a": 10**30}}), JSON, 400, "invalid_request", "metadata"),
        (encoded(SUBMIT | {"webhook": "https://example.com"}), JSON, 400, "invalid_request", "webhook"),
        (encoded(SUBMIT | {"webhook_events_filter": []}), JSON, 400, "invalid_request", "webhook"),
        (encoded(SUBMIT)[:-1] + b',"model":"vector"}', JSON, 400, "invalid_request", "model"),
        (encoded(SUBMIT | {"model": "nope"}), JSON, 404, "model_not_found", "model"),
        (encoded(SUBMIT | {"model": "../etc"}), JSON, 404, "model_not_found", "model"),
        (encoded(SUBMIT | {"version": "3"}), JSON, 404, "model_not_found", "version"),
        (encoded(SUBMIT | {"input": None}), JSON, 400, "invalid_input", "input"),
        (encoded(SUBMIT | {"input": {}}), JSON, 400, "invalid_input", "input"),
        (encoded(SUBMIT | {"input": {"inputs": [], "instances": []}}), JSON, 400, "invalid_input", "input"),
        (encoded(SUBMIT | {"input": {"instances": [[1.0]]}}), JSON, 400, "invalid_input", "instances.shape"),
        (encoded(SUBMIT | {"input": {"features": {"age": 1}}}), JSON, 400, "invalid_input", "features.height"),
        (encoded(SUBMIT), {"content-type": "text/plain"}, 415, "unsupported_media_type", "Content-Type"),
        (b"model=vector", {"content-type": FORM}, 415, "unsupported_media_type", "Content-Type"),
        (encoded(SUBMIT), JSON | {"content-encoding": "br"}, 415, "unsupported_media_type", "Content-Encoding"),
        (encoded(SUBMIT), JSON | {"content-encoding": "gzip"}, 400, "invalid_request", "Content-Encoding"),
        (encoded(SUBMIT), JSON | {"idempotency-key": ""}, 400, "invalid_request", "Idempotency-Key"),
        (encoded(SUBMIT), JSON | {"idempotency-key": "k" * 256}, 400, "invalid_request", "Idempotency-Key"),
    ],
)  # fmt: skip
async def test_a_submit_that_breaks_a_rule_is_refused_by_name(
    house: House,
    client: httpx.AsyncClient,
    content: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
    param: str | None,
) -> None:
    problem(await client.post("/v1/jobs", content=content, headers=headers), status, code, param)
    assert house.log.topics == {}
    assert house.in_flight.count == 0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": "z"}, "inputs[0].name"),
        ({"datatype": "INT64"}, "inputs[0].datatype"),
        ({"shape": [1, 3]}, "inputs[0].shape"),
        ({"shape": [0, 2], "data": []}, "inputs[0].shape"),
        ({"shape": [2**62, 2]}, "inputs[0].shape"),
        ({"data": [1.0]}, "inputs[0].data"),
        ({"data": [1.0, "x"]}, "inputs[0].data"),
        ({"data": [1.0, None]}, "inputs[0].data"),
        ({"data": [1.0, 1e39]}, "inputs[0].data"),
        ({"data": [[1.0, 2.0, 3.0]]}, "inputs[0].data"),
    ],
)
async def test_an_input_that_breaks_the_signature_is_refused_by_field(
    client: httpx.AsyncClient, change: dict[str, Any], param: str
) -> None:
    bad = {"inputs": [INPUT["inputs"][0] | change]}
    answer = await client.post("/v1/jobs", json=SUBMIT | {"input": bad})
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("content", "headers", "status", "param"),
    [
        (b"not an image", {"content-type": "image/png"}, 400, "image"),
        (b"\x89PNG\r\n\x1a\n broken", {"content-type": "image/png"}, 400, "image"),
        (b"GIF89a", {"content-type": "image/gif"}, 415, "Content-Type"),
        (b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}, 400, "image"),
        (b"", {"content-type": "application/octet-stream"}, 400, "Inference-Header-Content-Length"),
        (b"{}", {"inference-header-content-length": "x"}, 400, "Inference-Header-Content-Length"),
        (b"{}", {"inference-header-content-length": "99"}, 400, "Inference-Header-Content-Length"),
        (b"{}", {"inference-header-content-length": "9" * 30}, 400, "Inference-Header-Content-Length"),
    ],
)
async def test_a_bare_input_that_breaks_a_rule_is_refused(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, param: str
) -> None:
    answer = await client.post("/v1/models/digits/jobs", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


async def test_an_image_is_refused_by_a_model_that_takes_none(client: httpx.AsyncClient) -> None:
    problem(
        await client.post(PATH, content=png(), headers={"content-type": "image/png"}),
        415, "unsupported_media_type", "Content-Type",
    )  # fmt: skip


async def test_the_envelope_takes_no_query(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/jobs?lane=bulk", json=SUBMIT), 400, "invalid_request")


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
    house.in_flight.enter(0)
    async with opened(house) as client:
        answer = await client.post("/v1/jobs", json=SUBMIT)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        house.in_flight.leave(0)
        assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 202


async def test_more_bytes_than_the_gateway_may_hold_are_turned_away() -> None:
    house = House(gateway_max_in_flight_bytes=2048, gateway_max_body_bytes=2048)
    house.in_flight.enter(2000)
    async with opened(house) as client:
        problem(await client.post("/v1/jobs", json=SUBMIT), 503, "unavailable")


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
    assert house.in_flight.count == 0


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
        assert house.in_flight.count == 0


async def test_a_client_that_leaves_amid_its_body_costs_nothing(house: House) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "query_string": b"", "headers": []}
    await house.app(scope, receive, send)
    assert sent == []
    await eventually(lambda: house.in_flight.count == 0)
    assert house.log.topics == {}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"instances":' + DEEP + b"}",
        b'{"features":' + DEEP + b"}",
        b'{"features":{"age":' + DEEP + b',"height":1}}',
        b'{"inputs":' + DEEP + b"}",
        b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":' + DEEP + b"}]}",
        b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2],"parameters":{"a":' + DEEP + b"}}]}",
        b'{"instances":[[1,1' + b"0" * 5000 + b"]]}",
        b'{"instances":[[1,1e999]]}',
        b'{"instances":[[1,NaN]]}',
        b'{"instances":[[1,"\xff"]]}',
        b'{"features":{"age":1,"height":1' + b"0" * 400 + b"}}",
        b'{"inputs":[{"name":"x","shape":[1,1' + b"0" * 5000 + b'],"datatype":"FP32","data":[1,2]}]}',
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_malicious_input_is_a_400(client: httpx.AsyncClient, payload: bytes, wrapped: bool) -> None:
    body = b'{"model":"vector","input":' + payload + b"}" if wrapped else payload
    answer = await client.post("/v1/jobs" if wrapped else PATH, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text[:500]
    assert len(answer.content) < 2000
