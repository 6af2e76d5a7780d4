"""The forms in which inputs may come, each brought into the one that travels."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import InvalidInput, RequestError, UnsupportedMediaType
from schemas.jobs import OCTET_STREAM, Answer, Payload
from schemas.oip import parse_request
from schemas.signature import ImageSpec, Signature, TensorSpec, default_scale
from tests.unit.schemas.reading import checked

Y = (TensorSpec("y", "FP32", (-1,)),)
VECTOR = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=Y)
FEATURES = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=Y, features=("age", "height"))
NAMED = Signature(inputs=(TensorSpec("age", "INT64", (-1, 1)), TensorSpec("city", "BYTES", (-1, 1))), outputs=Y)
TEXT = Signature(inputs=(TensorSpec("text", "BYTES", (-1, 1)),), outputs=Y)
VARIABLE = Signature(inputs=(TensorSpec("ids", "INT64", (-1, -1)),), outputs=Y)
DIGITS = Signature(
    inputs=(TensorSpec("image", "FP32", (-1, 8, 8)),),
    outputs=Y,
    image=ImageSpec("image", 8, 8, mode="L", layout="HW"),
)


def arrays(signature: Signature, value: Any) -> dict[str, Any]:
    """What the model would be given for this JSON."""
    given = checked(signature, Payload(json.dumps(value).encode()))
    request = parse_request(signature, given.payload)
    assert request.rows == given.rows
    return {name: array.tolist() for name, array in request.inputs.items()}


def refusal(signature: Signature, value: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        checked(signature, Payload(json.dumps(value).encode()))
    return caught.value


def test_a_request_of_the_protocol_travels_with_raw_tensors_and_is_answered_with_tensors() -> None:
    value = b'{ "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}], "id": "a" }'
    given = checked(VECTOR, Payload(value))
    assert (given.rows, given.answer) == (1, Answer.TENSORS)
    head, raw = given.payload.value[: given.payload.json_length], given.payload.value[given.payload.json_length :]
    assert raw == b"\0\0\x80\x3f\0\0\0\x40"
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    assert json.loads(head) == {"inputs": [tensor], "id": "a"}


def test_what_a_request_asks_for_travels_along() -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    more: dict[str, Any] = {
        "id": "a:b",
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        "parameters": {"k": [1, 2**70]},
    }
    value = json.dumps({"inputs": [tensor], **more}).encode()
    given, before = checked(VECTOR, Payload(value)), parse_request(VECTOR, Payload(value))
    assert given.payload.content_type == OCTET_STREAM
    request = parse_request(VECTOR, given.payload)
    assert (request.id, request.outputs, request.binary_outputs) == ("a:b", ("y",), frozenset("y"))
    assert request.parameters == before.parameters == more["parameters"]


def test_a_request_with_raw_tensors_travels_byte_for_byte() -> None:
    head = b'{ "inputs": [{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
    payload = Payload(head + b"\0" * 8, OCTET_STREAM, len(head))
    assert checked(VECTOR, payload).payload == payload


def test_instances_and_features_are_answered_with_predictions() -> None:
    for value in ({"instances": [[1, 2]]}, {"features": {"age": 1, "height": 2}}):
        assert checked(FEATURES, Payload(json.dumps(value).encode())).answer is Answer.PREDICTIONS


@pytest.mark.parametrize(
    ("signature", "value", "expected"),
    [
        (VECTOR, {"instances": [[1, 2], [3, 4]]}, {"x": [[1, 2], [3, 4]]}),
        (VECTOR, {"instances": [{"x": [1, 2]}]}, {"x": [[1, 2]]}),
        (FEATURES, {"features": {"height": 2, "age": 1}}, {"x": [[1, 2]]}),
        (FEATURES, {"features": [{"age": 1, "height": 2}, {"height": 4, "age": 3}]}, {"x": [[1, 2], [3, 4]]}),
        (NAMED, {"instances": [{"age": 1, "city": "Bern"}]}, {"age": [[1]], "city": [[b"Bern"]]}),
        (NAMED, {"instances": [{"age": [1], "city": ["Bern"]}]}, {"age": [[1]], "city": [[b"Bern"]]}),
        (NAMED, {"features": {"age": 1, "city": "Bern"}}, {"age": [[1]], "city": [[b"Bern"]]}),
        (TEXT, {"instances": [["a"], ["b"]]}, {"text": [[b"a"], [b"b"]]}),
        (VARIABLE, {"instances": [[1, 2, 3]]}, {"ids": [[1, 2, 3]]}),
    ],
)
def test_every_form_becomes_the_models_tensors(signature: Signature, value: Any, expected: dict[str, Any]) -> None:
    assert arrays(signature, value) == expected


@pytest.mark.parametrize(
    ("signature", "value", "why", "param"),
    [
        (VECTOR, {}, "exactly one of inputs, instances or features; found none", "input"),
        (VECTOR, {"inputs": [], "instances": []}, "found inputs and instances", "input"),
        (VECTOR, [], "must be a JSON object", "input"),
        (VECTOR, "text", "must be a JSON object", "input"),
        (VECTOR, {"instances": []}, "no rows", "instances"),
        (VECTOR, {"instances": 7}, "list with one value a row", "instances"),
        (VECTOR, {"instances": {"x": [1, 2]}}, "list with one value a row", "instances"),
        (VECTOR, {"instances": [[1, 2, 3]]}, "shape [1, 3]", "instances.shape"),
        (VECTOR, {"instances": [[1, 2], [3]]}, "ragged", "instances"),
        (VECTOR, {"instances": [[1, "2"]]}, "instances[0][1]", "instances"),
        (VECTOR, {"instances": [[1, None]]}, "instances[0][1]", "instances"),
        (VECTOR, {"instances": [[1, 1e39]]}, "out of range for FP32", "instances"),
        (VECTOR, {"instances": [{"z": [1, 2]}]}, "no input 'z'; it takes x", "instances[0].z"),
        (VECTOR, {"instances": [{}]}, "'x' is missing", "instances[0].x"),
        (NAMED, {"instances": [{"age": 1}]}, "'city' is missing", "instances[0].city"),
        (NAMED, {"instances": [[1, "Bern"]]}, "object of named values", "instances[0]"),
        (NAMED, {"instances": [{"age": 2**63, "city": "Bern"}]}, "out of range", "instances.age"),
        (FEATURES, {"features": {"age": 1}}, "'height' is missing", "features.height"),
        (FEATURES, {"features": {"age": 1, "height": 2, "x": 3}}, "no feature 'x'", "features.x"),
        (FEATURES, {"features": [{"age": 1, "height": 2}, {"age": 1}]}, "'height'", "features[1].height"),
        (FEATURES, {"features": {"age": 1, "height": "tall"}}, "features.height", "features.height"),
        (FEATURES, {"features": []}, "no rows", "features"),
        (FEATURES, {"features": [7]}, "object of named values", "features[0]"),
        (NAMED, {"features": {"age": 1.5, "city": "Bern"}}, "features.age", "features.age"),
    ],
)
def test_what_breaks_the_signature_names_field_and_rule(signature: Signature, value: Any, why: str, param: str) -> None:
    error = refusal(signature, value)
    assert why in error.message
    assert error.param == param


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b'{"instances": [[NaN, 1]]}', b"{" * 5000, b"[" * 100_000])
def test_what_is_not_json_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidInput):
        checked(VECTOR, Payload(value))


@pytest.mark.parametrize("form", ['{"instances": ', '{"features": ', '{"instances": [1], "parameters": {"a": '])
def test_what_is_nested_beyond_all_measure_is_refused(form: str) -> None:
    deep = form.encode() + b"[" * 100_000 + b"]" * 100_000 + b"}" * form.count("{")
    with pytest.raises(InvalidInput, match="nested too deeply"):
        checked(FEATURES, Payload(deep))


@pytest.mark.parametrize("content_type", ["text/csv", "", "application/xml", "image/gif", "multipart/form-data"])
def test_other_media_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="send application/json"):
        checked(VECTOR, Payload(b"{}", content_type))


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/v1+json"])
def test_json_is_json_by_any_name(content_type: str) -> None:
    assert checked(VECTOR, Payload(b'{"instances": [[1, 2]]}', content_type)).rows == 1


def test_binary_without_the_length_of_its_json_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Inference-Header-Content-Length"):
        checked(VECTOR, Payload(b"{}", "application/octet-stream"))


def png(size: tuple[int, int], color: int = 255) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, color).save(file, "PNG")
    return file.getvalue()


def test_an_image_becomes_one_row() -> None:
    given = checked(DIGITS, Payload(png((32, 32)), "image/png"))
    image = parse_request(DIGITS, given.payload).inputs["image"]
    assert (given.rows, given.answer, image.shape) == (1, Answer.PREDICTIONS, (1, 8, 8))
    np.testing.assert_allclose(image, 1.0)


@pytest.mark.parametrize("kind", ["image/jpeg", "image/jpg", "IMAGE/JPG; q=1"])
def test_a_jpeg_is_a_jpeg_by_either_name(kind: str) -> None:
    file = io.BytesIO()
    Image.new("L", (8, 8), 255).save(file, "JPEG")
    assert checked(DIGITS, Payload(file.getvalue(), kind)).rows == 1


def base64_of(image: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(image).decode()}


@pytest.mark.parametrize(
    "value",
    [
        {"instances": [base64_of(png((8, 8))), base64_of(png((9, 9), 0))]},
        {"instances": [{"image": base64_of(png((8, 8)))}, {"image": base64_of(png((9, 9), 0))}]},
        {"features": [{"image": base64_of(png((8, 8)))}, {"image": base64_of(png((9, 9), 0))}]},
    ],
)
def test_images_stand_in_json_as_base64_one_a_row(value: Any) -> None:
    given = checked(DIGITS, Payload(json.dumps(value).encode()))
    image = parse_request(DIGITS, given.payload).inputs["image"]
    assert given.rows == 2
    np.testing.assert_array_equal(image, [np.ones((8, 8)), np.zeros((8, 8))])


@pytest.mark.parametrize("row", [{"b64": "***"}, {"b64": "aGk="}, {"b65": ""}, {"b64": "", "x": 1}])
def test_a_row_that_is_no_image_is_refused(row: Any) -> None:
    refusal(DIGITS, {"instances": [base64_of(png((8, 8))), row]})


def test_pixels_arrive_whole_in_an_input_of_integers() -> None:
    spec = ImageSpec("image", 4, 4, mode="L", layout="HW", scale=default_scale("UINT8"))
    signature = Signature(inputs=(TensorSpec("image", "UINT8", (-1, 4, 4)),), outputs=Y, image=spec)
    given = checked(signature, Payload(png((4, 4), 200), "image/png"))
    assert parse_request(signature, given.payload).inputs["image"].tolist() == [[[200] * 4] * 4]


def test_pixels_that_an_input_of_integers_does_not_hold_are_refused() -> None:
    spec = ImageSpec("image", 4, 4, mode="L", layout="HW", scale=2.0)
    signature = Signature(inputs=(TensorSpec("image", "UINT8", (-1, 4, 4)),), outputs=Y, image=spec)
    with pytest.raises(InvalidInput, match="does not hold"):
        checked(signature, Payload(png((4, 4), 200), "image/png"))


def test_a_model_without_images_takes_none() -> None:
    with pytest.raises(UnsupportedMediaType, match="takes no images"):
        checked(VECTOR, Payload(png((8, 8)), "image/png"))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a readable"):
        checked(DIGITS, Payload(b"\x89PNG\r\n\x1a\n and then nothing", "image/png"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "age"]), inner),
        max_leaves=8,
    ),
    st.sampled_from(["instances", "features", "inputs"]),
    st.sampled_from([VECTOR, FEATURES, NAMED, TEXT, VARIABLE]),
)
def test_no_json_gets_by_as_anything_but_rows_or_a_refusal(value: Any, form: str, signature: Signature) -> None:
    try:
        given = checked(signature, Payload(json.dumps({form: value}).encode()))
    except RequestError:
        return
    assert parse_request(signature, given.payload).rows == given.rows >= 1


@pytest.mark.parametrize("binary", [False, True])
def test_types_in_the_spelling_of_tritons_configuration_are_taken_and_travel_plainly(*, binary: bool) -> None:
    tensors: list[dict[str, Any]] = [
        {"name": "age", "shape": [1, 1], "datatype": "TYPE_INT64"},
        {"name": "city", "shape": [1, 1], "datatype": "TYPE_STRING"},
    ]
    raw = b""
    if binary:
        values = [b"\x23" + bytes(7), b"\x04\0\0\0Bern"]
        for tensor, value in zip(tensors, values, strict=True):
            tensor["parameters"] = {"binary_data_size": len(value)}
        raw = b"".join(values)
    else:
        tensors[0]["data"], tensors[1]["data"] = [35], ["Bern"]
    head = json.dumps({"inputs": tensors, "id": "a", "parameters": {"k": "TYPE_FP32"}}).encode()
    sent = Payload(head + raw, OCTET_STREAM, len(head)) if binary else Payload(head)
    given = checked(NAMED, sent)
    travelling = json.loads(given.payload.value[: given.payload.json_length])
    assert [tensor["datatype"] for tensor in travelling["inputs"]] == ["INT64", "BYTES"]
    assert (travelling["id"], travelling["parameters"]) == ("a", {"k": "TYPE_FP32"})
    request = parse_request(NAMED, given.payload)
    assert request.inputs["age"].tolist() == [[35]]
    assert request.inputs["city"].tolist() in ([["Bern"]], [[b"Bern"]])


def test_a_type_that_is_another_is_refused_in_either_spelling() -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "TYPE_FP64", "data": [1, 2]}
    assert "'x' is FP32, not FP64" in refusal(VECTOR, {"inputs": [tensor]}).message
