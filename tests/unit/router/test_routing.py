"""What becomes of a readable record: a job in its lane, or its end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PayloadTooLarge
from schemas.examples import PNG
from schemas.images import Images
from schemas.jobs import Answer, Job, Status, Terminal, failed_end, is_job_id
from schemas.records import read_lane_record, read_terminal_record, terminal_record
from schemas.topics import LaneClass
from tests.unit.router.requests import CATALOG, INSTANCES, NOW, TOPICS, WRITTEN, record, routed
from workers.consuming.protocols import Record
from workers.router.routing import Refused, Routed

REQUEST = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def asked_for(*headers: tuple[str, str | bytes], written: datetime | None = WRITTEN, value: Any = INSTANCES) -> Record:
    return record(value, ("model", "vector"), *headers, written=written)


def job(asked: Record, **limits: Any) -> Job:
    decision = routed(asked, **limits)
    assert isinstance(decision, Routed), decision
    return decision.job


def end(asked: Record, **limits: Any) -> Terminal:
    decision = routed(asked, **limits)
    assert isinstance(decision, Refused), decision
    return decision.terminal


@pytest.mark.parametrize(("asked", "expected"), [(None, Answer.PREDICTIONS), ("tensors", Answer.TENSORS)])
def test_a_job_is_answered_in_the_form_it_asks_for_else_in_that_of_its_input(
    asked: str | None, expected: Answer
) -> None:
    decision = routed(record(INSTANCES, ("model", "vector"), *([("ce_answer", asked)] if asked else [])))
    assert isinstance(decision, Routed)
    assert decision.job.answer is expected


def test_an_accepted_job_lies_in_the_lane_of_its_version_and_class() -> None:
    decision = routed(asked_for(("ce_id", "order-7"), ("ce_lane", "bulk"), ("version", "2")))
    assert isinstance(decision, Routed)
    assert decision.out.topic == "penstock.lane.vector.2.bulk.v1"
    assert decision.out.key == b"order-7"
    in_lane = read_lane_record(tuple(decision.out.headers), decision.out.value)
    stored = decision.job
    assert stored.status is Status.QUEUED
    for name in ("id", "tenant", "model", "version", "lane", "created_at", "expires_at", "answer"):
        assert getattr(in_lane, name) == getattr(stored, name), name


def test_without_a_pinned_version_the_models_default_is_chosen() -> None:
    assert (job(asked_for()).version, job(asked_for(("version", "2"))).version) == ("1", "2")


def test_how_it_asked_is_how_it_is_answered() -> None:
    assert job(asked_for()).answer is Answer.PREDICTIONS
    assert job(asked_for(value=REQUEST)).answer is Answer.TENSORS


def test_a_producer_is_not_believed_about_its_tenant() -> None:
    assert job(asked_for(("ce_tenant", "somebody-else"))).tenant == "default"


def test_a_trace_is_passed_on_and_anything_else_in_its_place_is_not() -> None:
    for given_header, expected in ((TRACEPARENT, TRACEPARENT), ("00-xyz", None), (TRACEPARENT + "\n", None)):
        for name in ("traceparent", "ce_traceparent"):
            decision = routed(asked_for((name, given_header)))
            assert isinstance(decision, Routed)
            assert read_lane_record(tuple(decision.out.headers), decision.out.value).traceparent == expected


def test_a_record_read_twice_is_the_same_job() -> None:
    first = routed(asked_for())
    again = routed(asked_for())
    assert first == again


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (WRITTEN, WRITTEN),
        (None, NOW),
        (NOW + timedelta(hours=1), NOW),
    ],
)
def test_a_job_is_as_old_as_its_record_and_never_younger_than_now(written: datetime | None, expected: datetime) -> None:
    assert job(asked_for(written=written)).created_at == expected


@pytest.mark.parametrize(
    ("headers", "expires_at"),
    [
        ((), WRITTEN + timedelta(seconds=600)),
        ((("timeout_s", "30"),), WRITTEN + timedelta(seconds=30)),
        ((("ce_timeouts", "2.5"),), WRITTEN + timedelta(seconds=2.5)),
        ((("ce_deadline", "2026-01-02T03:10:00Z"),), datetime(2026, 1, 2, 3, 10, tzinfo=UTC)),
        ((("deadline", "2026-01-02T05:10:00+02:00"),), datetime(2026, 1, 2, 3, 10, tzinfo=UTC)),
        ((("timeout_s", "30"), ("deadline", "2026-01-02T03:10:00Z")), WRITTEN + timedelta(seconds=30)),
        ((("timeout_s", "3000"), ("deadline", "2026-01-02T03:10:00Z")), datetime(2026, 1, 2, 3, 10, tzinfo=UTC)),
    ],
)
def test_a_job_expires_at_its_deadline_or_when_its_time_is_over(
    headers: tuple[tuple[str, str], ...], expires_at: datetime
) -> None:
    assert job(asked_for(*headers)).expires_at == expires_at


def test_metadata_stays_with_the_job() -> None:
    assert job(asked_for(("ce_metadata", '{"order": 7}'))).metadata == {"order": 7}
    assert job(record({"model": "vector", "input": INSTANCES, "metadata": {"order": 7}})).metadata == {"order": 7}


@pytest.mark.parametrize(
    ("asked", "code", "param", "why"),
    [
        (record(INSTANCES, ("model", "nosuch")), "model_not_found", "model", "no model 'nosuch'"),
        (record(INSTANCES, ("model", "No Name")), "model_not_found", "model", "no model 'No Name'"),
        (asked_for(("version", "9")), "model_not_found", "version", "no version '9'; it has 1, 2"),
        (asked_for(("lane", "express")), "invalid_request", "lane", "live, bulk"),
        (asked_for(("ce_answer", "poem")), "invalid_request", "answer", "tensors, predictions"),
        (asked_for(("timeout_s", "soon")), "invalid_request", "timeout_s", "number of seconds"),
        (asked_for(("timeout_s", "0")), "invalid_request", "timeout_s", "between 1 and"),
        (asked_for(("ce_retention", "59")), "invalid_request", "retention_s", "between 60 and 2592000 seconds"),
        (asked_for(("retention_s", "1.5")), "invalid_request", "retention_s", "whole number of seconds"),
        (asked_for(("timeout_s", "1e9")), "invalid_request", "timeout_s", "between 1 and"),
        (asked_for(("timeout_s", "NaN")), "invalid_request", "timeout_s", "number of seconds"),
        (asked_for(("deadline", "tomorrow")), "invalid_request", "deadline", "as in 2030"),
        (asked_for(("deadline", "2026-01-02T03:10:00")), "invalid_request", "deadline", "no zone"),
        (asked_for(("deadline", "2099-01-01T00:00:00Z")), "invalid_request", "deadline", "away"),
        (asked_for(("deadline", "0001-01-01T00:00:00+05:00")), "invalid_request", "deadline", "as in 2030"),
        (asked_for(("deadline", "2026-01-01T00:00:00Z")), "deadline_exceeded", None, "deadline passed"),
        (asked_for(("timeout_s", "1")), "deadline_exceeded", None, "deadline passed"),
        (asked_for(("sticky_key", "x" * 256)), "invalid_request", "sticky_key", "255"),
        (asked_for(("metadata", "[]")), "invalid_request", "metadata", "JSON object"),
        (asked_for(("metadata", '{"a": "\\u0000"}')), "invalid_request", "metadata", "NUL"),
        (asked_for(("ce_jsonlength", "ten")), "invalid_request", "ce_jsonlength", "number of bytes"),
        (asked_for(("ce_jsonlength", "-1")), "invalid_request", "ce_jsonlength", "number of bytes"),
        (asked_for(("ce_jsonlength", "9" * 30)), "invalid_request", "ce_jsonlength", "number of bytes"),
        (asked_for(value={"input": INSTANCES, **INSTANCES}), "invalid_input", "instances", "not both"),
        (asked_for(value={"input": INSTANCES, "timout_s": 3}), "invalid_request", "timout_s", "unknown member"),
        (asked_for(value={"input": INSTANCES, "webhook": "ftp://x"}), "invalid_request", "webhook", "https URL"),
        (asked_for(("ce_webhook", "http://10.0.0.1/")), "invalid_request", "webhook", "https"),
        (asked_for(("ce_webhook", b"\xff")), "invalid_request", "webhook", "not UTF-8"),
        (
            asked_for(("webhook", "https://a.example/"), ("webhook", "https://b.example/")),
            "invalid_request",
            "webhook",
            "twice",
        ),
        (
            asked_for(("ce_webhookevents", "completed")),
            "invalid_request",
            "webhook_events_filter",
            "there is none",
        ),
        (
            asked_for(("ce_webhook", "https://a.example/"), ("ce_webhookevents", "job.succeded")),
            "invalid_request",
            "webhook_events_filter",
            "did you mean job.succeeded?",
        ),
        (asked_for(value={"input": INSTANCES, "lane": 5}), "invalid_request", "lane", "live, bulk"),
        (asked_for(value={"input": None}), "invalid_input", "input", "JSON object"),
        (asked_for(value=b'{"lane": "bulk", "instances": [[1, 2]], "lane": 3}'), "invalid_input", "lane", "twice"),
        (asked_for(value=b'{"input": {"instances": [[1, 2]]}, "input": {}}'), "invalid_input", "input", "twice"),
        (asked_for(value=b'{"lane": "\xff", "instances": [[1, 2]]}'), "invalid_request", "lane", "malformed"),
        (asked_for(("lane", "bulk"), ("lane", "live")), "invalid_request", "lane", "twice"),
        (asked_for(("ce_lane", b"\xff")), "invalid_request", "lane", "not UTF-8"),
    ],
)
def test_a_job_that_cannot_be_queued_ends_as_failed_and_says_why(
    asked: Record, code: str, param: str | None, why: str
) -> None:
    ended = end(asked)
    assert (ended.status, ended.id, ended.created_at) == (Status.FAILED, "penstock.requests.v1-3-42", WRITTEN)
    assert ended.error is not None
    assert (ended.error.code, ended.error.param) == (code, param)
    assert why in ended.error.message


def test_an_error_of_ours_over_an_input_ends_its_job_and_is_kept_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("workers.router.routing.check_input", faulty)
    decision = routed(asked_for(("ce_id", "order-7")))
    assert isinstance(decision, Refused)
    assert isinstance(decision.unforeseen, ZeroDivisionError)
    assert decision.terminal.error is not None
    assert (decision.terminal.id, decision.terminal.error.code) == ("order-7", "invalid_input")


def test_a_missed_deadline_tells_when_the_clocks_are_apart() -> None:
    behind = end(asked_for(written=NOW - timedelta(seconds=900)))
    assert behind.error is not None
    assert "300.0 s before the job could be queued, 900.0 s after it was asked for" in behind.error.message
    early = end(asked_for(("deadline", "2026-01-02T03:04:00Z"), written=NOW + timedelta(seconds=60)))
    assert early.error is not None
    assert "60.0 s ahead of ours" in early.error.message


def test_an_end_tells_what_is_known_of_the_job() -> None:
    ended = end(asked_for(("ce_id", "order-7"), ("lane", "bulk"), ("version", "2"), value={"instances": []}))
    assert (ended.id, ended.model, ended.version, ended.lane) == ("order-7", "vector", "2", LaneClass.BULK)
    assert end(record(INSTANCES, ("model", "nosuch"), ("version", "7"))).version == "7"
    assert end(record(INSTANCES, ("model", "nosuch"), ("version", "Not One"))).version == ""


def test_a_name_that_cannot_be_written_down_is_cut_to_what_can() -> None:
    assert end(record(INSTANCES, ("model", "a\0b\n" + "c" * 100))).model == "a?b?" + "c" * 60


def test_an_end_stays_small_whatever_it_quotes() -> None:
    ended = end(asked_for(value={"instances": [{"x" * 1_000_000: 1}]}))
    assert ended.error is not None
    assert len(ended.error.message) <= 2000


def test_the_limits_are_those_of_the_settings() -> None:
    asked = asked_for()
    assert job(asked, default_timeout_s=60).expires_at == WRITTEN + timedelta(seconds=60)
    ended = end(asked_for(("timeout_s", "61")), max_timeout_s=60)
    assert ended.error is not None
    assert "between 1 and 60" in ended.error.message


def test_images_that_no_record_holds_together_are_refused_before_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Images, "row", lambda *_: pytest.fail("one was read"))
    asked = record({"instances": [{"b64": PNG}] * 5}, ("model", "digits"))
    ended = end(asked, max_input_bytes=5 * 8 * 8 * 4 - 1)
    assert ended.error is not None
    assert ended.error.code == "payload_too_large"


def test_a_job_whose_record_cannot_be_written_ends_with_the_reason() -> None:
    found = job(asked_for(("ce_id", "order-7")))
    ended = failed_end(found, PayloadTooLarge("too large"), NOW)
    assert (ended.id, ended.version, ended.rows, ended.status) == ("order-7", "1", 2, Status.FAILED)


texts = st.text(max_size=20)
OPTIONS = ("ce_id", "ce_model", "model", "ce_modelversion", "ce_lane", "ce_deadline", "ce_timeouts", "ce_metadata")
ABOUT = ("ce_jsonlength", "ce_specversion", "content-type", "traceparent", "x-other")
names = st.sampled_from(OPTIONS + ABOUT)
values = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"vector", b"1.0", b"live", b"application/json", b"application/cloudevents+json", b"30"]),
)
contents = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from(["model", "input", "instances", "lane", "data", "specversion", "id", "timeout_s"]),
        st.recursive(st.none() | st.floats() | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    ),
)


@given(contents, st.lists(st.tuples(names, values), max_size=8), st.none() | st.integers(-(2**62), 2**62))
def test_nothing_that_a_producer_sends_is_beyond_reading(
    value: Any, headers: list[tuple[str, bytes]], time_ms: int | None
) -> None:
    asked = record(value, *headers)
    decision = routed(asked._replace(timestamp_ms=-1 if time_ms is None else time_ms))
    if isinstance(decision, Refused):
        out = terminal_record(TOPICS.results, decision.terminal, "/test")
        assert read_terminal_record(tuple(out.headers), out.value).id == decision.terminal.id
    elif isinstance(decision, Routed):
        assert is_job_id(decision.job.id)
        assert decision.job.version in CATALOG.models[decision.job.model]


@pytest.mark.parametrize("header", ["ce_retention", "retention_s"])
def test_how_long_a_job_is_kept_travels_with_it(header: str) -> None:
    routed_job = routed(asked_for((header, "3600")))
    assert isinstance(routed_job, Routed)
    assert routed_job.job.retention_s == 3600
    assert dict(routed_job.out.headers)["ce_retention"] == b"3600"
