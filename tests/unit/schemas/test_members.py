"""Nothing that a client writes into its JSON is dropped unseen: it is read, or refused by its name."""

import json
from base64 import b64encode
from typing import Any

import pytest

from schemas.errors import InvalidInput
from schemas.jobs import Answer, Payload
from schemas.members import first_twin, members
from schemas.oip import parse_request
from schemas.signature import Signature, TensorSpec
from tests.unit.schemas.reading import checked

Y = (TensorSpec("y", "FP32", (-1,)),)
VECTOR = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=Y, features=("age", "height"))
NAMED = Signature(inputs=(TensorSpec("age", "INT64", (-1, 1)), TensorSpec("city", "BYTES", (-1, 1))), outputs=Y)
TEXT = Signature(inputs=(TensorSpec("text", "BYTES", (-1,)),), outputs=Y)
X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def refusal(signature: Signature, value: bytes | Any) -> InvalidInput:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(InvalidInput) as caught:
        checked(signature, Payload(raw))
    return caught.value


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"instances": [[1, 2]], "timeout_s": 5}, "timeout_s"),
        ({"instances": [[1, 2]], "instance": [[3, 4]]}, "instance"),
        ({"features": {"age": 1, "height": 2}, "outputs": [{"name": "y"}]}, "outputs"),
        ({"instances": [[1, 2]], "id": "mine"}, "id"),
        ({"inputs": [X], "lane": "bulk"}, "lane"),
        ({"inputs": [X | {"Data": [1, 2]}]}, "inputs[0].Data"),
        ({"inputs": [X | {"parameters": {"content_type": "np"}}]}, "inputs[0].parameters.content_type"),
        ({"inputs": [X], "outputs": [{"name": "y", "binary_data": True}]}, "outputs[0].binary_data"),
        (
            {"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            "outputs[0].parameters.classification",
        ),
        (
            {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]},
            "outputs[0].parameters.binary_data",
        ),
        ({"inputs": [X], "outputs": [{"name": "y"}, {"name": "y"}]}, "outputs"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output"),
    ],
)
def test_a_member_that_nobody_reads_is_refused_by_its_name(value: Any, param: str) -> None:
    error = refusal(VECTOR, value)
    assert error.param == param
    assert param.rpartition(".")[2].removeprefix("outputs") in error.message


@pytest.mark.parametrize(
    ("signature", "value", "param"),
    [
        (VECTOR, b'{"instances": [[1, 2]], "instances": [[3, 4]]}', "instances"),
        (VECTOR, b'{"instances": [[1, 2]], "inst\\u0061nces": [[3, 4]]}', "instances"),
        (VECTOR, b'{"instances": [{"x": [1, 2], "x": [3, 4]}]}', "instances[0].x"),
        (VECTOR, b'{"instances": [{"x": [1, 2]}, {"x": [1, 2], "x": [3, 4]}]}', "instances[1].x"),
        (VECTOR, b'{"features": {"age": 1, "age": 3, "height": 2}}', "features.age"),
        (VECTOR, b'{"features": [{"age": 1, "height": 2, "age": 3}]}', "features[0].age"),
        (VECTOR, b'{"instances": [[1, 2]], "parameters": {"a": 1, "a": 2}}', "parameters.a"),
        (VECTOR, b'{"instances": [[1, 2]], "parameters": {"a": {"b": 1, "b": 2}}}', "parameters.a.b"),
        (TEXT, b'{"inputs":[{"name":"text","shape":[],"shape":[1],"datatype":"BYTES","data":[]}]}', "inputs[0].shape"),
        (VECTOR, b'{"id":"a","id":"b","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}', "id"),
        (TEXT, b'{"instances": ["a: b", {"b64": "", "b64": "aGk="}]}', "instances[1].b64"),
    ],
)  # fmt: skip
def test_a_member_that_is_given_twice_is_refused_by_its_name(signature: Signature, value: bytes, param: str) -> None:
    error = refusal(signature, value)
    assert (error.param, error.message) == (param, f"{param} is given twice")


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        (TEXT, {"instances": ["a: b", '{"a": 1, "a": 2}', "{"]}),
        (NAMED, {"instances": [{"age": 1, "city": "here: there"}]}),
        (VECTOR, {"instances": [[1, 2]], "parameters": {"a": {"b": [1, {"c": ":"}]}, "d": "e: f"}}),
        (VECTOR, {"inputs": [X], "id": "a:b", "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}),
    ],
)
def test_colons_and_braces_in_texts_are_no_members(signature: Signature, value: Any) -> None:
    assert checked(signature, Payload(json.dumps(value).encode())).rows >= 1


@pytest.mark.parametrize("value", [{"instances": [[1, 2]]}, {"features": {"age": 1, "height": 2}}, {"inputs": [X]}])
def test_parameters_reach_the_model_whatever_the_form(value: dict[str, Any]) -> None:
    given = checked(VECTOR, Payload(json.dumps(value | {"parameters": {"k": 3}}).encode()))
    assert parse_request(VECTOR, given.payload).parameters == {"k": 3}


@pytest.mark.parametrize(
    ("signature", "value", "expected"),
    [
        (TEXT, {"instances": ["a", {"b64": "/w=="}]}, [b"a", b"\xff"]),
        (TEXT, {"instances": [{"b64": "/w=="}, "a"]}, [b"\xff", b"a"]),
        (TEXT, {"instances": [{"text": {"b64": "/w=="}}]}, [b"\xff"]),
        (TEXT, {"features": {"text": {"b64": "/w=="}}}, [b"\xff"]),
    ],
)
def test_bytes_stand_in_json_as_base64(signature: Signature, value: Any, expected: list[bytes]) -> None:
    given = checked(signature, Payload(json.dumps(value).encode()))
    assert given.answer is Answer.PREDICTIONS
    assert parse_request(signature, given.payload).inputs["text"].tolist() == expected


def test_bytes_of_a_request_of_the_protocol_stand_as_base64_too() -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [{"b64": b64encode(b"\xff").decode()}]}
    given = checked(TEXT, Payload(json.dumps({"inputs": [tensor]}).encode()))
    assert parse_request(TEXT, given.payload).inputs["text"].tolist() == [b"\xff"]


def test_a_byte_order_mark_before_the_json_is_passed_over() -> None:
    bom = b"\xef\xbb\xbf"
    assert checked(VECTOR, Payload(bom + b'{"instances": [[1, 2]]}')).rows == 1
    request = bom + json.dumps({"inputs": [X]}).encode()
    given = checked(VECTOR, Payload(request))
    assert parse_request(VECTOR, given.payload).rows == 1
    assert "UTF-16" in refusal(VECTOR, '{"instances": [[1, 2]]}'.encode("utf-16")).message


def test_members_are_all_told_in_their_order() -> None:
    raw = b'{"a": [1], "b": {"a": 2, "a": 3}, "\\u0061": null}'
    assert [(name, bytes(value)) for name, value in members(raw)] == [
        ("a", b"[1]"),
        ("b", b'{"a": 2, "a": 3}'),
        ("a", b"null"),
    ]
    assert first_twin(raw) == "a"
    assert first_twin(b'{"a": {"b": 1, "b": 2}}') is None


def test_the_first_of_very_many_twins_is_told_before_the_rest_is_looked_at() -> None:
    assert first_twin(b'{"a": 1, "b": 2, "\\u0061": 3, ' + 300_000 * b'"b": 2, ' + b'"c": nonsense') == "a"
