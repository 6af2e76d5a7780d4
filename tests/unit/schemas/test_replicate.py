"""Predictions as Replicate's clients ask them."""

import base64
import json
from typing import Any

import pytest

from schemas.errors import RequestError
from schemas.replicate import as_input, read_prediction
from schemas.signature import ImageSpec, Signature, TensorSpec

PNG = b"\x89PNG\r\n\x1a\nrest"
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
OUTPUTS = (TensorSpec("y", "FP32", (-1,)),)
ONE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=OUTPUTS)
TWO = Signature(inputs=(TensorSpec("x", "FP32", (-1,)), TensorSpec("file", "BYTES", (-1,))), outputs=OUTPUTS)
FEATURES = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=OUTPUTS, features=("age", "height"))
IMAGE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 8, 8)),), outputs=OUTPUTS, image=ImageSpec("x", 8, 8, mode="L", layout="HW")
)


@pytest.mark.parametrize(
    ("version", "model", "known"),
    [
        ("digits", "digits", None),
        ("digits:2", "digits", "2"),
        ("owner/digits", "digits", None),
        ("owner/digits:2", "digits", "2"),
    ],
)
def test_a_version_names_its_model(version: str, model: str, known: str | None) -> None:
    asked = read_prediction(json.dumps({"version": version, "input": {"x": 1}}).encode(), None)
    assert asked == (model, known, {"x": 1})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": {}}, "version"),
        ({"input": {}, "version": "a/b/c"}, "version"),
        ({"version": "digits"}, "input"),
        ({"version": "digits", "input": 5}, "input"),
        ({"version": "digits", "input": {}, "color": 1}, "color"),
        ({"version": "digits", "input": {}, "webhook": "https://a.example"}, "webhook"),
    ],
)
def test_what_is_no_prediction_is_refused(body: Any, param: str | None) -> None:
    with pytest.raises(RequestError) as refused:
        read_prediction(json.dumps(body).encode(), None)
    assert refused.value.param == param


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(RequestError):
        read_prediction(text, "digits")


@pytest.mark.parametrize(
    ("given", "signature", "document"),
    [
        ({"x": [1, 2]}, ONE, {"instances": [[1, 2]]}),
        ({"instances": [[1, 2], [3, 4]]}, ONE, {"instances": [[1, 2], [3, 4]]}),
        ({"age": 1, "height": 2}, FEATURES, {"features": [{"age": 1, "height": 2}]}),
        ({"x": 1, "file": "text"}, TWO, {"instances": [{"x": 1, "file": "text"}]}),
        (
            {"x": 1, "file": DATA_URL},
            TWO,
            {"instances": [{"x": 1, "file": {"b64": base64.b64encode(PNG).decode()}}]},
        ),
    ],
)
def test_an_input_is_a_row_by_the_names_of_inputs(given: Any, signature: Signature, document: Any) -> None:
    assert json.loads(as_input(given, signature).value) == document


def test_a_file_alone_is_the_image() -> None:
    payload = as_input({"image": DATA_URL}, IMAGE)
    assert (payload.value, payload.content_type) == (PNG, "image/png")


@pytest.mark.parametrize(
    ("given", "signature", "param"),
    [
        ({}, ONE, "input"),
        ({"z": 1}, ONE, "input"),
        ({"x": 1}, TWO, "input"),
        ({"image": "https://a.example/a.png"}, IMAGE, "input.image"),
        ({"image": "data:image/png;base64,%%%"}, IMAGE, "input.image"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(given: Any, signature: Signature, param: str) -> None:
    with pytest.raises(RequestError) as refused:
        as_input(given, signature)
    assert refused.value.param == param
