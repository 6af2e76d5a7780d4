"""Kafka records: jobs and their ends as CloudEvents, written and read back."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorBody, Undecodable
from schemas.jobs import TERMINAL, Answer, Payload, Status, Terminal
from schemas.records import (
    LaneJob,
    lane_of,
    lane_record,
    read_lane_record,
    read_terminal_record,
    terminal_record,
    timestamp,
)
from schemas.topics import Lane, LaneClass

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
JOB = LaneJob(
    id="job_1",
    tenant="default",
    model="digits",
    version="2",
    lane=LaneClass.BULK,
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=10),
    payload=Payload(b'{"inputs": []}', "application/json"),
)
FAILED = Terminal(
    tenant="default",
    id="job_1",
    model="digits",
    version="2",
    lane=LaneClass.LIVE,
    status=Status.FAILED,
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=10),
    completed_at=NOW + timedelta(seconds=1),
    error=ErrorBody("inference_failed", "it broke", "inference_error"),
)

# What a header may hold besides names: any text that UTF-8 can say and a store can hold.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
INT32 = 2**31 - 1
job_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,60}", fullmatch=True)
moments = st.integers(0, 2 * 10**14).map(lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
versions = st.none() | st.from_regex(r"[a-z0-9][a-z0-9.-]{0,31}", fullmatch=True)
instances = st.none() | st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)
plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
metadata = st.dictionaries(plain, st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | plain, max_size=3)
payloads = st.builds(Payload, st.binary(max_size=100), texts, st.none() | st.integers(0, INT32))
jobs = st.builds(
    LaneJob,
    id=job_ids,
    tenant=texts,
    model=texts,
    version=texts,
    lane=st.sampled_from(LaneClass),
    created_at=moments,
    expires_at=moments,
    payload=payloads,
    answer=st.sampled_from(Answer),
    variant=st.none() | texts,
    revision=st.none() | st.integers(0, INT32),
    cohort=st.none() | st.integers(0, 99),
    rescue_to=versions,
    moved_from=versions,
    traceparent=st.none() | texts,
    metadata=metadata,
    reply_to=instances,
    attempt=st.integers(0, INT32),
)
errors = st.builds(ErrorBody, code=texts, message=st.text(), type=texts, param=st.none() | st.text())
ended: dict[str, st.SearchStrategy[Any]] = {
    "tenant": texts,
    "id": job_ids,
    "model": texts,
    "version": texts,
    "lane": st.sampled_from(LaneClass),
    "created_at": moments,
    "expires_at": moments,
    "completed_at": moments,
    "rows": st.integers(0, INT32),
    "answer": st.sampled_from(Answer),
    "variant": st.none() | texts,
    "revision": st.none() | st.integers(0, INT32),
    "cohort": st.none() | st.integers(0, 99),
    "moved_from": versions,
    "started_at": st.none() | moments,
    "metadata": metadata,
    "reply_to": instances,
}
terminals = st.one_of(
    st.builds(Terminal, **ended, status=st.just(Status.SUCCEEDED), result=payloads),
    st.builds(Terminal, **ended, status=st.sampled_from([Status.FAILED, Status.CANCELED]), error=errors),
)


@given(jobs)
def test_a_job_reads_back_as_it_was_written(job: LaneJob) -> None:
    record = lane_record("lane", job, "/test")
    assert record.key == job.id.encode()
    assert read_lane_record(tuple(record.headers), record.value) == job


@given(terminals)
def test_an_end_reads_back_as_it_was_written(terminal: Terminal) -> None:
    record = terminal_record("results", terminal, "/test")
    assert record.key == terminal.id.encode()
    assert read_terminal_record(tuple(record.headers), record.value) == terminal


def test_a_job_is_a_cloud_event_in_binary_mode() -> None:
    record = lane_record("lane", JOB, "/test")
    headers = dict(record.headers)
    assert len(headers) == len(record.headers)
    assert (
        headers
        | {
            "ce_specversion": b"1.0",
            "ce_id": b"job_1",
            "ce_source": b"/test",
            "ce_type": b"io.penstock.job.v1",
            "ce_time": b"2026-01-02T03:04:05.678Z",
            "ce_model": b"digits",
            "ce_modelversion": b"2",
            "ce_lane": b"bulk",
            "ce_deadline": b"2026-01-02T03:14:05.678Z",
            "content-type": b"application/json",
        }
        == headers
    )
    assert record.value == b'{"inputs": []}'


def test_a_failed_end_holds_its_error_as_json() -> None:
    record = terminal_record("results", FAILED, "/test")
    assert dict(record.headers)["ce_status"] == b"failed"
    assert msgspec.json.decode(record.value or b"")["error"]["message"] == "it broke"


def changed(headers: list[tuple[str, bytes]], name: str, value: bytes | None) -> tuple[tuple[str, bytes], ...]:
    rest = [header for header in headers if header[0] != name]
    return tuple(rest if value is None else [*rest, (name, value)])


UNTOLD = [
    *[("ce_replyto", value) for value in (b"", b"GW", b"gw.1", b"gw 1", b"\xff", b"g" * 65)],
    *[("ce_metadata", value) for value in (b"", b"[]", b"{", b'{"a":1,"a":2}', b'"\xff"', b"{" + b" " * 9000 + b"}")],
    *[("ce_routerevision", value) for value in (b"", b"-1", b"one", b"2147483648")],
    *[("ce_cohort", value) for value in (b"", b"-1", b"100", b"1.5")],
    *[("ce_movedfrom", value) for value in (b"", b"V2", b"a/b", b"\xff", b"2\0", b"v" * 33)],
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, None) for name in ("ce_id", "ce_model", "ce_modelversion", "ce_time", "ce_deadline")],
        ("ce_id", b""),
        ("ce_id", b"not an id"),
        ("ce_id", b"a" * 129),
        ("ce_id", b"\xff"),
        ("ce_model", b"\xff"),
        ("ce_tenant", b"\xff"),
        ("ce_lane", b"express"),
        ("ce_lane", b""),
        ("ce_answer", b"poem"),
        ("ce_time", b"yesterday"),
        ("ce_time", b"2026-01-02T03:04:05"),
        ("ce_deadline", b""),
        ("ce_deadline", b"2026-13-02T03:04:05Z"),
        ("ce_jsonlength", b"ten"),
        ("ce_jsonlength", b""),
        ("content-type", b"\xff"),
        ("traceparent", b"\xff"),
        ("ce_variant", b"\xff"),
        *[(name, b"a\0b") for name in ("ce_tenant", "ce_variant", "content-type", "traceparent")],
        *UNTOLD,
        *[("ce_attempt", value) for value in (b"", b"-1", b"once", b"2147483648")],
        *[("ce_rescueto", value) for value in (b"", b"../2", b"\xff", b"v" * 33)],
    ],
)
def test_a_job_with_a_malformed_header_is_undecodable(name: str, value: bytes | None) -> None:
    record = lane_record("lane", JOB, "/test")
    with pytest.raises(Undecodable):
        read_lane_record(changed(record.headers, name, value), record.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, None)
            for name in (
                "ce_id",
                "ce_status",
                "ce_model",
                "ce_modelversion",
                "ce_lane",
                "ce_time",
                "ce_createdtime",
                "ce_deadline",
                "ce_answer",
            )
        ],
        ("ce_status", b"running"),
        ("ce_status", b"expired"),
        ("ce_status", b"\xff"),
        ("ce_id", b"not an id"),
        ("ce_rows", b"many"),
        ("ce_rows", b"-1"),
        ("ce_rows", b"2147483648"),
        *[(name, b"a\0b") for name in ("ce_tenant", "ce_variant", "ce_model", "ce_modelversion")],
        *UNTOLD,
        ("ce_startedtime", b"2026-01-02T03:04:05"),
        ("ce_createdtime", b"0"),
    ],
)
def test_an_end_with_a_malformed_header_is_undecodable(name: str, value: bytes | None) -> None:
    record = terminal_record("results", FAILED, "/test")
    with pytest.raises(Undecodable):
        read_terminal_record(changed(record.headers, name, value), record.value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"error": "it broke"}',
        b'{"error": {"code": 1}}',
        b'{"error": {}, "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_failed_end_without_a_readable_error_is_undecodable(value: bytes | None) -> None:
    headers = tuple(terminal_record("results", FAILED, "/test").headers)
    with pytest.raises(Undecodable):
        read_terminal_record(headers, value)


def test_a_record_without_a_value_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="no value"):
        read_lane_record(tuple(lane_record("lane", JOB, "/test").headers), None)


@given(
    st.lists(st.tuples(st.sampled_from(["ce_id", "ce_status", "ce_time", "content-type"]), st.binary())), st.binary()
)
def test_no_record_gets_by_as_anything_but_an_end_or_undecodable(
    headers: list[tuple[str, bytes]], value: bytes
) -> None:
    with pytest.raises(Undecodable):
        read_terminal_record(tuple(headers), value)


def test_what_other_writers_add_is_passed_over() -> None:
    record = lane_record("lane", JOB, "/test")
    headers = (("ce_datacontenttype", b"text/plain"), *record.headers, ("x-anything", b"\xff"))
    assert read_lane_record(headers, record.value) == JOB


def test_the_lane_of_a_job_has_names_that_a_topic_can_have() -> None:
    assert lane_of(JOB) == Lane("digits", "2", LaneClass.BULK)
    for change in ({"model": "a.b"}, {"model": ""}, {"version": "A"}, {"version": "../1"}):
        with pytest.raises(Undecodable):
            lane_of(msgspec.structs.replace(JOB, **change))


def test_times_are_told_in_utc_with_milliseconds() -> None:
    east = timezone(timedelta(hours=2))
    assert timestamp(datetime(2026, 1, 1, 1, 0, 0, 999, tzinfo=east)) == "2025-12-31T23:00:00.000Z"


def test_the_three_ends_are_the_terminal_states() -> None:
    assert {Status.SUCCEEDED, Status.FAILED, Status.CANCELED} == TERMINAL
