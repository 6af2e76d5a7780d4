"""From a fetched record to a job that may run, or to what becomes of it instead."""

from datetime import timedelta

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Canceled, DeadlineExceeded, InvalidInput, JobError, PenstockError
from schemas.jobs import Payload, end_of
from schemas.records import terminal_record
from schemas.topics import Lane, LaneClass
from stores.seams import JobKey
from tests.unit.inference.jobs import LIVE, NOON, SIGNATURE, TOPICS, lane_job, record, request_json, request_of
from workers.consuming.seams import Record
from workers.dead_letters import dead_letter
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.record_decoder import Dead, Ended, RecordDecoder


def intake(canceled: frozenset[JobKey] = frozenset()) -> RecordDecoder:
    return RecordDecoder(LIVE, SIGNATURE, canceled)


def error_of(read: PendingJob | Ended | Dead) -> PenstockError:
    assert isinstance(read, Ended)
    return read.error


@pytest.mark.parametrize(
    "payload", [request_json([1.0, 2.0]), request_of({"x": np.array([[1], [2]], np.float32)})], ids=["JSON", "binary"]
)
def test_a_sound_record_becomes_a_job_with_its_tensors(payload: Payload) -> None:
    read = intake().read(record(lane_job("job-a", payload)), NOON)
    assert isinstance(read, PendingJob)
    assert (read.job.id, read.rows) == ("job-a", 2)
    assert read.request.inputs["x"].tolist() == [[1.0], [2.0]]


def test_a_job_whose_deadline_has_passed_ends_without_a_look_at_its_payload() -> None:
    late = record(lane_job(payload=Payload(b"not even JSON"), expires_in_s=10))
    assert isinstance(error_of(intake().read(late, NOON + timedelta(seconds=10))), DeadlineExceeded)


def test_a_job_that_was_canceled_ends() -> None:
    known = intake(frozenset([JobKey("default", "job-a")]))
    assert isinstance(error_of(known.read(record(lane_job("job-a")), NOON)), Canceled)
    assert isinstance(known.read(record(lane_job("job-b")), NOON), PendingJob)


def test_an_input_that_breaks_the_signature_fails_with_the_field_named() -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    error = error_of(intake().read(record(lane_job(payload=Payload(orjson.dumps({"inputs": [tensor]})))), NOON))
    assert isinstance(error, InvalidInput)
    assert error.param == "inputs[0].shape"


def test_a_job_in_a_lane_that_is_not_its_own_fails() -> None:
    stray = lane_job(lane=Lane("adder", "2", LaneClass.LIVE))
    error = error_of(intake().read(record(stray), NOON))
    assert isinstance(error, InvalidInput)
    assert "adder/2" in error.message
    assert "adder/1" in error.message


@pytest.mark.parametrize("missing", ["ce_id", "ce_model", "ce_time", "ce_deadline"])
def test_a_record_without_what_makes_a_job_is_dead(missing: str) -> None:
    sound = record(lane_job())
    broken = sound._replace(headers=tuple(header for header in sound.headers if header[0] != missing))
    read = intake().read(broken, NOON)
    assert isinstance(read, Dead)
    assert missing in read.error.message


def test_a_tombstone_is_dead() -> None:
    assert isinstance(intake().read(record(lane_job())._replace(value=None), NOON), Dead)


def test_json_too_deep_for_the_decoder_fails_its_job_and_no_more() -> None:
    nested = b'{"inputs":[],"parameters":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    assert isinstance(error_of(intake().read(record(lane_job(payload=Payload(nested))), NOON)), InvalidInput)


NAMES = ["ce_id", "ce_model", "ce_modelversion", "ce_lane", "ce_tenant", "ce_answer", "ce_variant", "ce_jsonlength"]
TIMES = [b"2026-01-01T00:00:00Z", b"2026-01-01", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"]
headers = st.lists(
    st.tuples(st.sampled_from(["ce_time", "ce_deadline"]), st.sampled_from(TIMES))
    | st.tuples(st.sampled_from(NAMES), st.binary(max_size=40) | st.sampled_from([b"-1", b"1", b"live", b"digits"]))
    | st.tuples(st.text(max_size=8), st.binary(max_size=40)),
    max_size=6,
)


@settings(deadline=None)
@given(headers, st.none() | st.binary(max_size=60) | st.just(request_json([1.0]).value))
def test_no_record_whatever_is_in_it_breaks_the_worker(over: list[tuple[str, bytes]], value: bytes | None) -> None:
    # Given a sound record with other headers laid over its own
    sound = record(lane_job())
    odd = Record(*sound[:5], value, (*sound.headers, *over), 0)

    # When it is read
    read = intake().read(odd, NOON)

    # Then something comes of it that can be written down
    if isinstance(read, Dead):
        assert dead_letter(odd, "group", read.error).value == value
    else:
        error = read.error if isinstance(read, Ended) else JobError("no")
        assert terminal_record(TOPICS.results, end_of(read.job, error, NOON), "/test").value
