"""Copies and findings as they travel."""

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from schemas.errors import PenstockError, Undecodable
from schemas.records import ShadowOf, is_copy, lane_record, read_lane_record
from schemas.shadows import (
    COPY_LIFE_S,
    Disagreement,
    Pair,
    ShadowHour,
    ShadowSums,
    copy_of,
    decode_finding,
    encode_finding,
    pack_outputs,
    unpack_outputs,
)
from schemas.tensors import DTYPES, Array
from schemas.topics import LaneClass
from tests.unit.inference.jobs import NOON, lane_job, request_json

PAIR = Pair(tenant="acme", model="digits", version="2", shadow_of="1")
FOUND = Disagreement(pair=PAIR, job="job_1", at=NOON, why="label", output="y", rows=1, answered="3", shadowed="8")
HOUR = ShadowHour(pair=PAIR, worker="w-1", hour=NOON, sums=ShadowSums(copied=3, agreed=2, dropped={"late": 1}))

numbers = st.sampled_from([dtype for dtype in DTYPES.values() if dtype.kind != "O"]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
)
texts = st.lists(st.binary(max_size=5), max_size=4).map(lambda given: np.array([*given, b""], dtype=object))


@given(st.dictionaries(st.text(max_size=5), numbers | texts, max_size=3))
def test_outputs_are_unpacked_as_they_were_packed(outputs: Mapping[str, Array]) -> None:
    found = unpack_outputs(pack_outputs(outputs))
    assert found.keys() == outputs.keys()
    for name, array in outputs.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype
        assert found[name].tolist() == array.tolist() or np.array_equal(found[name], array, equal_nan=True)


@given(st.binary(max_size=60))
def test_what_is_no_outputs_is_refused_in_order(data: bytes) -> None:
    with contextlib.suppress(ValueError, PenstockError):
        unpack_outputs(data)


@pytest.mark.parametrize(
    "packed",
    [
        [["y", "FP32", [2], b"\0" * 4]],
        [["y", "FP32", [-1], b""]],
        [["y", "FP32", [10**12, 10**12], b""]],
        [["y", "BYTES", [1], b"\xff\xff\xff\xff"]],
        [["y", "FP99", [1], b""]],
    ],
)
def test_lengths_and_shapes_that_are_wrong_are_refused(packed: Any) -> None:
    with pytest.raises((ValueError, PenstockError)):
        unpack_outputs(msgspec.msgpack.encode(packed))


def test_a_copy_has_the_input_and_the_answer_and_nothing_by_which_the_job_could_end_or_move() -> None:
    job = msgspec.structs.replace(
        lane_job("job_1", request_json([1.0])),
        variant="canary",
        revision=3,
        cohort=4,
        rescue_to="7",
        reply_to="gw-1",
        retention_s=60,
        metadata={"a": 1},
        traceparent="00-1",
        attempt=2,
    )
    copy = copy_of(job, "2", b"answer", NOON)
    plain = msgspec.structs.replace(
        lane_job("job_1", job.payload), version="2", lane=LaneClass.BULK, shadow_of=ShadowOf("1", b"answer")
    )
    assert copy == msgspec.structs.replace(plain, expires_at=NOON + timedelta(seconds=COPY_LIFE_S))


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_copys_record_reads_back(value: bytes, outputs: bytes) -> None:
    job = lane_job("job_1")
    job = msgspec.structs.replace(job, payload=msgspec.structs.replace(job.payload, value=value))
    copy = copy_of(job, "2", outputs, NOON)
    out = lane_record("lane", copy, "/test")
    assert is_copy(out.headers)
    assert not is_copy(lane_record("lane", job, "/test").headers)
    assert read_lane_record(tuple(out.headers), out.value) == copy


@pytest.mark.parametrize(
    "change",
    [("ce_inputlength", b"999"), ("ce_inputlength", b"-1"), ("ce_inputlength", b"x"), ("ce_shadowof", b"../1")],
)
def test_a_copy_that_breaks_a_rule_is_no_job(change: tuple[str, bytes]) -> None:
    out = lane_record("lane", copy_of(lane_job("job_1"), "2", b"answer", NOON), "/test")
    headers = [header for header in out.headers if header[0] != change[0]]
    for changed in ([*headers, change], headers if change[0] == "ce_inputlength" else [*headers, change]):
        with pytest.raises(Undecodable):
            read_lane_record(tuple(changed), out.value)


def test_findings_read_back_as_they_were_written() -> None:
    for finding in (FOUND, HOUR):
        assert decode_finding(encode_finding(finding)) == finding


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "else"},
        {"job": "a b"},
        {"pair": {"tenant": "acme", "model": "No", "version": "2", "shadow_of": "1"}},
        {"pair": {"tenant": "a\0", "model": "digits", "version": "2", "shadow_of": "1"}},
        {"pair": {"tenant": "acme", "model": "digits", "version": "2", "shadow_of": "/"}},
        {"answered": "a\0"},
        {"shadowed": "x" * 201},
        {"rows": -1},
        {"at": "2026-01-01T00:00:00"},
        {"largest_difference": "much"},
    ],
)
def test_a_finding_that_breaks_a_rule_is_none(change: Any) -> None:
    document = msgspec.json.decode(encode_finding(FOUND)) | change
    with pytest.raises(Undecodable):
        decode_finding(msgspec.json.encode(document))


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[" * 100_000, b"\xff", b'{"kind":"hour"}'])
def test_what_is_no_finding_is_told_so(value: bytes | None) -> None:
    with pytest.raises(Undecodable):
        decode_finding(value)


def test_times_of_findings_are_of_any_zone() -> None:
    found = decode_finding(encode_finding(FOUND))
    assert isinstance(found, Disagreement)
    assert found.at == datetime(2026, 1, 1, 12, tzinfo=UTC)
