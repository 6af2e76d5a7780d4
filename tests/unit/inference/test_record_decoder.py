"""From a fetched record to a job that may run, or to what becomes of it instead."""

from datetime import datetime, timedelta

import numpy as np
import orjson
import pytest

from schemas.errors import Canceled, DeadlineExceeded, InvalidInput, PenstockError
from schemas.jobs import Payload
from schemas.signature import Signature, TensorSpec
from schemas.topics import Lane, LaneClass
from stores.protocols import JobKey
from tests.unit.inference.jobs import LIVE, NOON, SIGNATURE, lane_job, record, request_json, request_of
from workers.consuming.protocols import Record
from workers.inference.batching.compatibility import BatchCompatibility
from workers.inference.batching.padding import PaddedInput, Padding
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.record_decoder import Decoded, Ended, RecordDecoder, UndecodableRecord


def decoder(canceled: frozenset[JobKey] = frozenset()) -> RecordDecoder:
    return RecordDecoder(LIVE, SIGNATURE, canceled)


def read(of: RecordDecoder, odd: Record, now: datetime = NOON) -> Decoded:
    (one,) = of.read_all([odd], now)
    return one


def error_of(read: Decoded) -> PenstockError:
    assert isinstance(read, Ended)
    return read.error


@pytest.mark.parametrize(
    "payload", [request_json([1.0, 2.0]), request_of({"x": np.array([[1], [2]], np.float32)})], ids=["JSON", "binary"]
)
def test_a_sound_record_becomes_a_job_with_its_tensors(payload: Payload) -> None:
    job = read(decoder(), record(lane_job("job-a", payload)))
    assert isinstance(job, PendingJob)
    assert (job.job.id, job.rows) == ("job-a", 2)
    assert job.request.inputs["x"].tolist() == [[1.0], [2.0]]


def test_a_job_whose_deadline_has_passed_ends_without_a_look_at_its_payload() -> None:
    late = record(lane_job(payload=Payload(b"not even JSON"), expires_in_s=10))
    assert isinstance(error_of(read(decoder(), late, NOON + timedelta(seconds=10))), DeadlineExceeded)


def test_a_job_that_was_canceled_ends() -> None:
    known = decoder(frozenset([JobKey("default", "job-a")]))
    assert isinstance(error_of(read(known, record(lane_job("job-a")))), Canceled)
    assert isinstance(read(known, record(lane_job("job-b"))), PendingJob)


def test_an_input_that_breaks_the_signature_fails_with_the_field_named() -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    error = error_of(read(decoder(), record(lane_job(payload=Payload(orjson.dumps({"inputs": [tensor]}))))))
    assert isinstance(error, InvalidInput)
    assert error.param == "inputs[0].shape"


def test_a_job_in_a_lane_that_is_not_its_own_fails() -> None:
    stray = lane_job(lane=Lane("adder", "2", LaneClass.LIVE))
    error = error_of(read(decoder(), record(stray)))
    assert isinstance(error, InvalidInput)
    assert "adder/2" in error.message
    assert "adder/1" in error.message


@pytest.mark.parametrize("missing", ["ce_id", "ce_model", "ce_time", "ce_deadline"])
def test_a_record_without_what_makes_a_job_is_dead(missing: str) -> None:
    sound = record(lane_job())
    broken = sound._replace(headers=tuple(header for header in sound.headers if header[0] != missing))
    dead = read(decoder(), broken)
    assert isinstance(dead, UndecodableRecord)
    assert missing in dead.error.message


def test_a_tombstone_is_dead() -> None:
    assert isinstance(read(decoder(), record(lane_job())._replace(value=None)), UndecodableRecord)


def test_json_too_deep_for_the_decoder_fails_its_job_and_no_more() -> None:
    nested = b'{"inputs":[],"parameters":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    assert isinstance(error_of(read(decoder(), record(lane_job(payload=Payload(nested))))), InvalidInput)


def test_a_job_that_could_never_be_held_is_refused_and_told_by_how_much() -> None:
    small = RecordDecoder(LIVE, SIGNATURE, frozenset(), most_bytes=4000)
    assert isinstance(read(small, record(lane_job(payload=request_json([1.0] * 10)))), PendingJob)
    error = error_of(read(small, record(lane_job(payload=request_json([1.0] * 1000)))))
    assert isinstance(error, InvalidInput)
    assert "bytes of memory to run; the limit is 4000: send fewer rows" in error.message


@pytest.mark.parametrize("width", [2**30, 10**18])
def test_a_few_bytes_that_padding_would_make_more_than_can_be_held_are_refused(width: int) -> None:
    signature = Signature(
        inputs=(TensorSpec("x", "FP32", (-1, -1, -1)),), outputs=(TensorSpec("y", "FP32", (-1, -1, -1)),)
    )
    rules = BatchCompatibility(padding=Padding({"x": PaddedInput((1, 2))}, lengths=(16,)))
    small = RecordDecoder(LIVE, signature, frozenset(), rules, most_bytes=2**30)
    tensor = {"name": "x", "shape": [1, 0, width], "datatype": "FP32", "data": []}
    payload = Payload(orjson.dumps({"inputs": [tensor]}))
    assert isinstance(error_of(read(small, record(lane_job(payload=payload)))), InvalidInput)


def test_parameters_that_no_micro_batch_shares_are_not_kept() -> None:
    rules = BatchCompatibility(batch_by=("lang",))
    payload = request_json([1.0], parameters={"lang": "en", "other": [[]] * 1000})
    job = read(RecordDecoder(LIVE, SIGNATURE, frozenset(), rules), record(lane_job(payload=payload)))
    assert isinstance(job, PendingJob)
    assert job.request.parameters == {"lang": "en"}
