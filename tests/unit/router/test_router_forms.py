"""The three forms of a direct producer's record, and which option counts where it is given twice."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from schemas.jobs import Job, is_job_id, job_id_of
from schemas.oip import parse_request
from schemas.records import LaneJob, read_lane_record
from schemas.topics import LaneClass
from tests.unit.router.requests import DIGITS, INSTANCES, VECTOR, record, routed
from workers.consuming.protocols import Record
from workers.router.routing import Dead, Routed

BINARY_MODE = (
    ("ce_specversion", "1.0"),
    ("ce_id", "order-7"),
    ("ce_source", "/shop"),
    ("ce_type", "io.penstock.job.v1"),
    ("ce_model", "vector"),
)


def job(asked: Record) -> Job:
    decision = routed(asked)
    assert isinstance(decision, Routed), decision
    return decision.job


def lane_job(asked: Record) -> LaneJob:
    decision = routed(asked)
    assert isinstance(decision, Routed), decision
    return read_lane_record(tuple(decision.out.headers), decision.out.value)


def why_dead(asked: Record) -> str:
    decision = routed(asked)
    assert isinstance(decision, Dead), decision
    return decision.error.message


def event(**attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "order-7", "source": "/shop", "type": "x", "model": "vector", **attributes}


def base64_of(value: bytes) -> str:
    return base64.b64encode(value).decode()


STRUCTURED = ("content-type", "application/cloudevents+json; charset=utf-8")


@pytest.mark.parametrize(
    "asked",
    [
        record(INSTANCES, *BINARY_MODE),
        record(INSTANCES, *BINARY_MODE, ("content-type", "application/json")),
        record(INSTANCES, *BINARY_MODE, ("ce_datacontenttype", "text/plain")),
        record(event(data=INSTANCES), STRUCTURED),
        record(event(data=INSTANCES, datacontenttype="application/json"), STRUCTURED),
        record(event(data_base64=base64_of(json.dumps(INSTANCES).encode())), STRUCTURED),
        record(event(data=INSTANCES), ("Content-Type", "application/CloudEvents+JSON"), ("ce_id", "not this one")),
    ],
    ids=["binary", "typed", "sdk", "structured", "data type", "base64", "upper case"],
)
def test_a_cloud_event_in_binary_or_structured_mode_is_a_job(asked: Record) -> None:
    found = job(asked)
    assert (found.id, found.model, found.version, found.rows) == (job_id_of("order-7", "/shop"), "vector", "1", 2)


@pytest.mark.parametrize(
    "asked",
    [
        record(INSTANCES, ("model", "vector")),
        record(INSTANCES, ("ce_model", "vector")),
        record(INSTANCES, ("Model", "vector"), ("content-type", "application/json")),
        record({"model": "vector", **INSTANCES}),
        record({"model": "vector", "input": INSTANCES}),
        record({"model": "vector", "version": None, "input": INSTANCES, "metadata": {}, "webhook": None}),
    ],
    ids=["header", "ce header", "typed", "beside", "envelope", "full envelope"],
)
def test_a_bare_json_value_with_a_model_name_is_enough(asked: Record) -> None:
    found = job(asked)
    assert (found.id, found.model, found.rows) == ("penstock.requests.v1-3-42", "vector", 2)


def test_a_header_goes_before_the_envelope_and_a_ce_header_before_a_plain_one() -> None:
    envelope = {"model": "digits", "version": "9", "lane": "live", "input": INSTANCES}
    asked = record(envelope, ("ce_modelversion", "2"), ("model", "vector"), ("version", "1"), ("lane", "bulk"))
    found = job(asked)
    assert (found.model, found.version, found.lane) == ("vector", "2", LaneClass.BULK)


def test_an_empty_header_counts_as_not_given() -> None:
    found = job(record({"model": "vector", "input": INSTANCES}, ("ce_model", ""), ("ce_id", ""), ("lane", "")))
    assert (found.model, found.id) == ("vector", "penstock.requests.v1-3-42")


def test_numbers_in_a_structured_event_are_read_as_numbers() -> None:
    found = job(record(event(data=INSTANCES, timeouts=30, lane="bulk", metadata={"order": 7}), STRUCTURED))
    assert (found.expires_at - found.created_at).total_seconds() == 30
    assert (found.lane, found.metadata) == (LaneClass.BULK, {"order": 7})


def test_the_input_of_an_envelope_travels_alone() -> None:
    request = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    payload = lane_job(record({"model": "vector", "input": request})).payload
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    assert json.loads(payload.value[: payload.json_length]) == {"inputs": [tensor]}
    assert parse_request(VECTOR, payload).inputs["x"].tolist() == [[1.0, 2.0]]


def test_binary_tensors_come_with_the_length_of_their_json() -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [tensor]}).encode()
    for name in ("ce_jsonlength", "inference-header-content-length"):
        headers = (("model", "vector"), ("content-type", "application/octet-stream"), (name, str(len(head))))
        payload = lane_job(record(head + b"\0\0\x80\x3f\0\0\0\x40", *headers)).payload
        assert parse_request(VECTOR, payload).inputs["x"].tolist() == [[1.0, 2.0]]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), 255).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "asked",
    [
        record(png(), ("model", "digits"), ("content-type", "image/png")),
        record(
            event(model="digits", datacontenttype="image/png", data_base64=base64.b64encode(png()).decode()), STRUCTURED
        ),
    ],
    ids=["bare", "structured"],
)
def test_an_image_is_a_job_of_one_row(asked: Record) -> None:
    payload = lane_job(asked).payload
    assert parse_request(DIGITS, payload).inputs["image"].shape == (1, 8, 8)


EVENT_IDS = ["order-7", "partition:1/offset:24", "not an id", "x" * 1000, "\0", "\u00fc", "event_1"]


def event_of(event_id: str, source: str) -> Record:
    return record(INSTANCES, ("model", "vector"), ("ce_id", event_id), ("ce_source", source))


@pytest.mark.parametrize("event_id", EVENT_IDS)
def test_any_text_is_an_events_id_and_two_sources_are_two_events(event_id: str) -> None:
    ids = [job(event_of(event_id, source)).id for source in ("/shop-a", "/shop-b", "/shop-a")]
    assert all(map(is_job_id, ids))
    assert ids[0] == ids[2] != ids[1]
    assert len({job(event_of(each, "/shop-a")).id for each in EVENT_IDS}) == len(EVENT_IDS)


def test_an_id_without_a_source_or_from_ourselves_is_the_jobs_where_it_can_be_one() -> None:
    assert job(record(INSTANCES, ("model", "vector"), ("ce_id", "order-7"))).id == "order-7"
    assert job(event_of("job_17", "/penstock/dlq")).id == "job_17"
    odd = [job(record(INSTANCES, ("model", "vector"), ("ce_id", each))).id for each in ("not an id", "\0")]
    assert all(map(is_job_id, odd))
    assert len(set(odd)) == 2


def test_options_beside_a_payload_are_no_part_of_it() -> None:
    asked = record({"model": "vector", "lane": "bulk", "timeout_s": 30, "metadata": {"a": 1}, **INSTANCES})
    found = job(asked)
    assert (found.lane, found.rows, found.metadata) == (LaneClass.BULK, 2, {"a": 1})


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_passed_over(mark: bytes) -> None:
    for asked in (
        record(mark + json.dumps({"model": "vector", **INSTANCES}).encode()),
        record(mark + json.dumps({"model": "vector", "input": INSTANCES}).encode()),
        record(mark + json.dumps(event(data=INSTANCES)).encode(), STRUCTURED),
    ):
        assert job(asked).rows == 2


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (record(None, ("model", "vector")), "no value"),
        (record(b""), "no model name"),
        (record(b"\xff\xfe"), "no model name"),
        (record(b'\0\0\0\0\7{"model": "vector"}'), "frame of a Schema Registry"),
        (record(b'{"model": "vector", "instances": ["\\ud800", "a"]}'), "half of a character"),
        (record(INSTANCES), "no model name"),
        (record([1, 2]), "no model name"),
        (record(INSTANCES, ("ce_model", b"\xff")), "ce_model is not UTF-8"),
        (record(INSTANCES, ("model", "vector"), ("ce_id", b"\xff")), "ce_id is not UTF-8"),
        (record(INSTANCES, ("model", "vector"), ("ce_source", b"\xff")), "ce_source is not UTF-8"),
        (record(INSTANCES, ("ce_specversion", "0.3"), ("ce_model", "vector")), "specversion is '0.3'"),
        (record(event(data=INSTANCES, specversion="2.0"), STRUCTURED), "specversion is '2.0'"),
        (record(event(data=INSTANCES, specversion=None), STRUCTURED), "specversion is ''"),
        (record(event(), STRUCTURED), "exactly one of data and data_base64"),
        (record(event(data={}, data_base64=""), STRUCTURED), "exactly one of data and data_base64"),
        (record(event(data_base64="***"), STRUCTURED), "not base64"),
        (record(event(data_base64="ä"), STRUCTURED), "not base64"),
        (record(event(data=INSTANCES, model=None), STRUCTURED), "no model name"),
        (record([event(data=INSTANCES)], STRUCTURED), "not a JSON object"),
        (record(b"{", STRUCTURED), "not a JSON object"),
        (record(b'{"specversion": "\\ud800", "a": 1}', STRUCTURED), "half of a character"),
        (record(b'{"a": "\xff"}', STRUCTURED), "specversion"),
        (record(b"[" * 100_000, STRUCTURED), "not a JSON object"),
        (record([], ("content-type", "application/cloudevents-batch+json")), "only JSON is read"),
        (record(b"", ("content-type", "application/cloudevents+avro")), "only JSON is read"),
    ],
)
def test_what_is_in_none_of_the_forms_is_a_dead_letter_that_says_why(asked: Record, why: str) -> None:
    assert why in why_dead(asked)
