"""Open Inference Protocol v2: requests in, responses out."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput, PayloadTooLarge
from schemas.jobs import Payload
from schemas.oip import encode_response, parse_request
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array, to_raw

TWO = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2)), TensorSpec("name", "BYTES", (-1, 1))),
    outputs=(TensorSpec("y", "FP32", (-1,)), TensorSpec("label", "INT64", (-1,))),
)
X = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
NAME = {"name": "name", "shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"]}


def payload(*inputs: dict[str, Any], **members: Any) -> Payload:
    return Payload(json.dumps({"inputs": list(inputs), **members}).encode())


def binary(*tensors: tuple[dict[str, Any], bytes], **members: Any) -> Payload:
    """A request whose tensors follow its JSON as raw bytes."""
    described = [{**tensor, "parameters": {"binary_data_size": len(raw)}} for tensor, raw in tensors]
    head = json.dumps({"inputs": described, **members}).encode()
    return Payload(head + b"".join(raw for _, raw in tensors), "application/octet-stream", len(head))


def without(tensor: dict[str, Any], *names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**tensor, **changes}.items() if name not in names}


def test_a_request_becomes_arrays_by_name() -> None:
    request = parse_request(TWO, payload(X, NAME, id="r1", parameters={"priority": 3}))
    assert request.rows == 2
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4]]
    assert request.inputs["name"].tolist() == [["a"], ["b"]]
    assert (request.id, request.outputs, request.binary_outputs) == ("r1", (), frozenset())
    assert request.parameters == {"priority": 3}


def test_binary_tensors_are_read_in_the_order_they_are_listed() -> None:
    raw = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    request = parse_request(TWO, binary((without(X, "data"), raw), (without(NAME, "data"), b"\1\0\0\0a\1\0\0\0b")))
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4]]
    assert request.inputs["name"].tolist() == [[b"a"], [b"b"]]


def test_binary_and_json_tensors_may_be_mixed() -> None:
    head = json.dumps({"inputs": [NAME, without(X, "data", parameters={"binary_data_size": 16})]}).encode()
    request = parse_request(TWO, Payload(head + b"\0" * 16, "application/octet-stream", len(head)))
    assert request.inputs["x"].tolist() == [[0, 0], [0, 0]]


def test_a_binary_numeric_tensor_is_not_copied() -> None:
    raw = np.zeros((2, 2), "<f4").tobytes()
    request = parse_request(TWO, binary((without(X, "data"), raw), (without(NAME, "data"), b"\0\0\0\0" * 2)))
    assert not request.inputs["x"].flags.owndata


@pytest.mark.parametrize(
    ("members", "names", "raw"),
    [
        ({}, (), ()),
        ({"outputs": [{"name": "y"}]}, ("y",), ()),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "label"}]}, ("y", "label"), ("y",)),
        ({"parameters": {"binary_data_output": True}}, (), ("label", "y")),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}, {"name": "label"}],
            },
            ("y", "label"),
            ("label",),
        ),
    ],
)
def test_the_caller_says_which_outputs_it_wants_and_how(
    members: dict[str, Any], names: tuple[str, ...], raw: tuple[str, ...]
) -> None:
    request = parse_request(TWO, payload(X, NAME, **members))
    assert (request.outputs, request.binary_outputs) == (names, frozenset(raw))


@pytest.mark.parametrize(
    ("inputs", "why", "param"),
    [
        ([X], "'name' is missing", "inputs"),
        ([], "'x' is missing", "inputs"),
        ([X, X, NAME], "given twice", "inputs[1].name"),
        ([X, NAME, without(X, name="z")], "no input 'z'", "inputs[2].name"),
        ([without(X, datatype="FP64"), NAME], "'x' is FP32, not FP64", "inputs[0].datatype"),
        ([without(X, shape=[4]), NAME], "shape [4]", "inputs[0].shape"),
        ([without(X, shape=[0, 2], data=[]), NAME], "no rows", "inputs[0].shape"),
        ([X, without(NAME, shape=[1, 1], data=["a"])], "differ in rows", "inputs"),
        ([without(X, "data"), NAME], "neither data nor", "inputs[0].data"),
        ([without(X, data=[1, 2, 3]), NAME], "3 elements", "inputs[0].data"),
        ([without(X, data=[1, 2, 3, "4"]), NAME], "inputs[0].data[3]", "inputs[0].data"),
        ([without(X, "shape"), NAME], "missing required field `shape`", "inputs[0]"),
        ([without(X, "name"), NAME], "missing required field `name`", "inputs[0]"),
        ([without(X, shape="2,2"), NAME], "Expected `array`", "inputs[0].shape"),
        ([without(X, "data", parameters={"binary_data_size": 16}), NAME], "only 0 bytes are left", None),
        ([without(X, parameters={"binary_data_size": 16}), NAME], "both data and", "inputs[0].data"),
        ([without(X, shap=[2, 2]), NAME], "'shap', which nobody reads; did you mean shape?", "inputs[0].shap"),
        ([without(X, shape=[10**4000, 2]), NAME], "Expected `int` <=", "inputs[0].shape[0]"),
        ([without(X, parameters={"binary_data_size": 10**4000}), NAME], "number of bytes", None),
        ([without(X, parameters={"binary_data": 16}), NAME], "'binary_data'", "inputs[0].parameters.binary_data"),
        ([without(X, parameters={"binary_data_size": -1}), NAME], "number of bytes", None),
        ([without(X, parameters={"binary_data_size": "16"}), NAME], "number of bytes", None),
        ([without(X, parameters={"binary_data_size": True}), NAME], "number of bytes", None),
    ],
)
def test_a_request_that_breaks_the_signature_names_field_and_rule(
    inputs: list[dict[str, Any]], why: str, param: str | None
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_request(TWO, payload(*inputs))
    assert why in caught.value.message
    assert caught.value.param == (param or "inputs[0].parameters.binary_data_size")


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"inputs": {}}', b'{"inputs": 7}', b"{}"]
)
def test_what_is_no_request_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_request(TWO, Payload(value))


def test_a_request_nested_beyond_all_measure_is_refused() -> None:
    deep = b'{"inputs": [], "parameters": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    with pytest.raises(InvalidInput, match="nested too deeply"):
        parse_request(TWO, Payload(deep))


@pytest.mark.parametrize("length", [0, -1, 10**6])
def test_a_json_length_beyond_the_body_is_refused(length: int) -> None:
    with pytest.raises(InvalidInput, match="Inference-Header-Content-Length"):
        parse_request(TWO, msgspec.structs.replace(payload(X, NAME), json_length=length))


def test_bytes_after_the_last_tensor_are_refused() -> None:
    request = binary((without(X, "data"), b"\0" * 16), (without(NAME, "data"), b"\0\0\0\0" * 2))
    with pytest.raises(InvalidInput, match="3 bytes are left"):
        parse_request(TWO, msgspec.structs.replace(request, value=request.value + b"abc"))


def test_an_output_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no output 'z'; it has y, label"):
        parse_request(TWO, payload(X, NAME, outputs=[{"name": "z"}]))


def test_a_shape_that_would_allocate_too_much_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        parse_request(TWO, payload(without(X, shape=[2**40, 2]), NAME))


@pytest.mark.parametrize("raw", [frozenset[str](), frozenset({"y"}), frozenset({"y", "label"})])
def test_a_response_can_be_read_back(raw: frozenset[str]) -> None:
    outputs: dict[str, Array] = {"y": np.array([0.5, 1.5], "<f4"), "label": np.array([7, 8], "<i8")}
    response = encode_response("m", "2", "job_1", outputs, raw)

    head = response.value if response.json_length is None else response.value[: response.json_length]
    message = json.loads(head)
    tail = response.value[len(head) :]
    assert (message["model_name"], message["model_version"], message["id"]) == ("m", "2", "job_1")
    for tensor, (name, array) in zip(message["outputs"], outputs.items(), strict=True):
        assert (tensor["name"], tensor["shape"]) == (name, [2])
        if name in raw:
            size = tensor["parameters"]["binary_data_size"]
            assert tail[:size] == to_raw(array)
            tail = tail[size:]
        else:
            assert tensor["data"] == array.tolist()
    assert tail == b""
    assert (response.json_length is not None) == bool(raw)


@pytest.mark.parametrize(
    ("array", "datatype", "data"),
    [
        (np.array([[1.5], [2.5]], np.float16), "FP16", [1.5, 2.5]),
        (np.array([b"ab", "c\u00e4"], object), "BYTES", ["ab", "c\u00e4"]),
        (np.array([[b"\xff"]], object), "BYTES", [{"b64": "/w=="}]),
        (np.array([2**53 + 1], np.int64), "INT64", [2**53 + 1]),
        (np.array([1 / 3]), "FP64", [1 / 3]),
        (np.array([True, False]), "BOOL", [True, False]),
        (np.array([2**63], np.uint64), "UINT64", [2**63]),
        (np.arange(6).reshape(2, 3).T, "INT64", [0, 3, 1, 4, 2, 5]),
    ],
)
def test_every_kind_of_array_can_be_told_in_json(array: Array, datatype: str, data: list[Any]) -> None:
    (tensor,) = json.loads(encode_response("m", "1", "j", {"y": array}).value)["outputs"]
    assert (tensor["datatype"], tensor["shape"], tensor["data"]) == (datatype, list(array.shape), data)


@given(st.binary(max_size=200), st.none() | st.integers(-5, 250))
def test_no_bytes_get_by_as_anything_but_a_request_or_a_refusal(value: bytes, length: int | None) -> None:
    with pytest.raises(InvalidInput):
        parse_request(TWO, Payload(value, "application/octet-stream", length))
