import numpy as np
import orjson
import pytest

from schemas.errors import NotAcceptable
from schemas.jobs import OCTET_STREAM, Payload
from schemas.oip import encode_response
from schemas.results import as_binary, as_json
from schemas.tensors import Array, to_raw

OUTPUTS: dict[str, Array] = {
    "label": np.array([7, 2], dtype=np.int64),
    "score": np.array([[0.5, np.nan], [1.0, 2.0]], dtype=np.float32),
    "name": np.array(["seven", "zwei"], dtype=object),
    "half": np.array([[1.5], [2.5]], dtype=np.float16),
    "flag": np.array([True, False]),
}


def test_json_is_passed_on_as_it_is() -> None:
    result = encode_response("digits", "2", "job_1", OUTPUTS)
    assert as_json(result) is result.value


def test_raw_tensors_become_lists() -> None:
    as_lists = encode_response("digits", "2", "job_1", OUTPUTS)
    mixed = encode_response("digits", "2", "job_1", OUTPUTS, frozenset({"label", "score", "name", "half"}))
    assert orjson.loads(as_json(mixed)) == orjson.loads(as_lists.value)


def test_lists_become_raw_tensors() -> None:
    outputs = {name: array for name, array in OUTPUTS.items() if name != "score"}  # JSON has no NaN to come back
    as_lists = encode_response("digits", "2", "job_1", outputs)
    raw = as_binary(as_lists)
    assert raw == encode_response("digits", "2", "job_1", outputs, frozenset(outputs))
    assert (raw.content_type, orjson.loads(raw.value[: raw.json_length])["id"]) == (OCTET_STREAM, "job_1")


def test_raw_tensors_are_passed_on_as_they_are() -> None:
    result = encode_response("digits", "2", "job_1", OUTPUTS, frozenset(OUTPUTS))
    assert as_binary(result) is result


def test_a_result_partly_raw_is_what_its_request_asked_for() -> None:
    mixed = encode_response("digits", "2", "job_1", OUTPUTS, frozenset({"flag", "label"}))
    assert as_binary(mixed) is mixed


def test_a_list_with_a_gap_cannot_be_had_raw() -> None:
    with pytest.raises(NotAcceptable):  # NaN was written as null, and would come back as something else
        as_binary(encode_response("digits", "2", "job_1", OUTPUTS))


def test_predictions_cannot_be_had_raw() -> None:
    with pytest.raises(NotAcceptable):
        as_binary(Payload(b'{"predictions":["seven"]}'))


def test_bytes_that_are_no_text_are_whole_in_either_form() -> None:
    outputs: dict[str, Array] = {"mask": np.array([b"\xff\0", b"text"], object)}
    as_lists = encode_response("digits", "2", "job_1", outputs)
    assert b'{"b64":"/wA="}' in as_json(as_lists)
    raw = as_binary(as_lists)
    assert raw.value.endswith(to_raw(outputs["mask"]))
    assert as_json(raw) == as_lists.value
