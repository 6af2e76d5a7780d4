"""Predict requests of TensorFlow Serving, and their answers."""

import json
from typing import Any

import numpy as np
import pytest

from schemas.errors import PenstockError
from schemas.oip import encode_response, parse_request
from schemas.signature import Signature, TensorSpec
from schemas.tfserving import as_answer, read_predict

Y = TensorSpec("y", "FP32", (-1,))
ONE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2), allow_nan=True),), outputs=(Y,))
WHOLE = Signature(inputs=(TensorSpec("n", "INT64", (-1,)),), outputs=(Y,))
TEXT = Signature(inputs=(TensorSpec("text", "BYTES", (-1,)),), outputs=(Y,))
TWO = Signature(inputs=(TensorSpec("a", "FP32", (-1,)), TensorSpec("b", "BYTES", (-1,))), outputs=(Y,))


def read(body: Any, signature: Signature = ONE) -> tuple[dict[str, Any], bool]:
    asked = read_predict(body if isinstance(body, bytes) else json.dumps(body).encode(), signature)
    inputs = parse_request(signature, asked.payload).inputs
    return {name: array.tolist() for name, array in inputs.items()}, asked.by_row


@pytest.mark.parametrize(
    ("body", "signature", "inputs", "by_row"),
    [
        ({"instances": [[1, 2], [3, 4]]}, ONE, {"x": [[1, 2], [3, 4]]}, True),
        ({"instances": [{"x": [1, 2]}]}, ONE, {"x": [[1, 2]]}, True),
        ({"signature_name": "serving_default", "inputs": [[1, 2]]}, ONE, {"x": [[1, 2]]}, False),
        ({"inputs": {"x": [[1, 2]]}}, ONE, {"x": [[1, 2]]}, False),
        ({"instances": [1, 2]}, WHOLE, {"n": [1, 2]}, True),
        ({"instances": ["a", {"b64": "/w=="}]}, TEXT, {"text": [b"a", b"\xff"]}, True),
        (
            {"instances": [{"a": 1, "b": "x"}, {"b": {"b64": "eQ=="}, "a": 2}]},
            TWO,
            {"a": [1, 2], "b": [b"x", b"y"]},
            True,
        ),
        ({"inputs": {"a": [1, 2], "b": ["x", "y"]}}, TWO, {"a": [1, 2], "b": [b"x", b"y"]}, False),
    ],
)
def test_rows_and_columns_are_read(body: Any, signature: Signature, inputs: Any, by_row: bool) -> None:
    assert read(body, signature) == (inputs, by_row)


def test_nan_is_a_token_where_the_model_allows_it() -> None:
    ((row,),) = [read(b'{"instances": [[NaN, 2]]}')[0]["x"]]
    assert np.isnan(row[0])
    for body, signature in ((b'{"instances": [NaN]}', WHOLE), (b'{"instances": [[Infinity, 2]]}', ONE)):
        with pytest.raises(PenstockError):
            read(body, signature)


@pytest.mark.parametrize(
    ("body", "signature", "param"),
    [
        ({}, ONE, "instances"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, ONE, "instances"),
        ({"instances": []}, ONE, "instances"),
        ({"instances": 5}, ONE, "instances"),
        ({"instances": [[1, 2]], "color": 1}, ONE, "color"),
        ({"instances": [[1, 2]], "signature_name": "train"}, ONE, "signature_name"),
        ({"instances": [["a", 2]]}, ONE, "instances"),
        ({"instances": [1.5]}, WHOLE, "instances"),
        ({"instances": [{"a": 1}]}, TWO, "instances[0]"),
        ({"instances": [{"a": 1, "b": "x"}, 5]}, TWO, "instances[1]"),
        ({"inputs": [1]}, TWO, "inputs"),
        ({"inputs": {"a": [1], "b": ["x", "y"]}}, TWO, "inputs"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(body: Any, signature: Signature, param: str) -> None:
    with pytest.raises(PenstockError) as refused:
        read(body, signature)
    assert refused.value.param == param
    assert refused.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b'{"instances": ' + b"[" * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(PenstockError) as refused:
        read(body)
    assert refused.value.status == 400


def answered(outputs: dict[str, Any], *, by_row: bool) -> Any:
    result = encode_response("m", "1", "job_1", outputs, frozenset(outputs))
    return json.loads(as_answer(result, by_row=by_row))


def test_a_single_output_has_no_name_and_several_have() -> None:
    y, z = np.array([1.5, 2.5], np.float32), np.array([[1, 2], [3, 4]])
    assert answered({"y": y}, by_row=True) == {"predictions": [1.5, 2.5]}
    assert answered({"y": y}, by_row=False) == {"outputs": [1.5, 2.5]}
    rows = [{"y": 1.5, "z": [1, 2]}, {"y": 2.5, "z": [3, 4]}]
    assert answered({"y": y, "z": z}, by_row=True) == {"predictions": rows}
    assert answered({"y": y, "z": z}, by_row=False) == {"outputs": {"y": [1.5, 2.5], "z": [[1, 2], [3, 4]]}}


def test_bytes_are_text_or_base64_and_what_is_no_number_is_a_token() -> None:
    texts = np.array([b"a", b"\xff"], object)
    assert answered({"t": texts}, by_row=True) == {"predictions": ["a", {"b64": "/w=="}]}
    assert answered({"t_bytes": texts}, by_row=True) == {"predictions": [{"b64": "YQ=="}, {"b64": "/w=="}]}
    result = encode_response("m", "1", "j", {"y": np.array([np.nan, np.inf], np.float32)}, frozenset({"y"}))
    assert as_answer(result, by_row=True) == b'{"predictions": [NaN, Infinity]}'
