"""Output tensors as predictions."""

import json
from typing import Any

import numpy as np
import pytest

from schemas.predictions import encode_predictions
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array

X = (TensorSpec("x", "FP32", (-1, 2)),)
LABEL = TensorSpec("label", "INT64", (-1,), labels=("cat", "dog"))
SCORES = TensorSpec("scores", "FP32", (-1, 2), labels=("cat", "dog"))
EMBEDDING = TensorSpec("embedding", "FP32", (-1, -1))


def predictions(outputs: dict[str, Array], *specs: TensorSpec) -> Any:
    payload = encode_predictions(Signature(inputs=X, outputs=specs), outputs)
    assert (payload.content_type, payload.json_length) == ("application/json", None)
    return json.loads(payload.value)["predictions"]


@pytest.mark.parametrize(
    ("spec", "array", "expected"),
    [
        (LABEL, np.array([1, 0]), ["dog", "cat"]),
        (LABEL, np.array([2, -1]), [2, -1]),
        (SCORES, np.array([[0.25, 0.75]], np.float32), [{"cat": 0.25, "dog": 0.75}]),
        (SCORES, np.array([[0.25, 0.75]], np.float16), [{"cat": 0.25, "dog": 0.75}]),
        (EMBEDDING, np.array([[1.5, 2.5], [3.5, 4.5]], np.float32), [[1.5, 2.5], [3.5, 4.5]]),
        (EMBEDDING, np.array([[[1.0], [2.0]]], np.float64), [[[1.0], [2.0]]]),
        (TensorSpec("y", "INT64", (-1,)), np.array([7, 8]), [7, 8]),
        (TensorSpec("y", "BOOL", (-1,)), np.array([True, False]), [True, False]),
        (TensorSpec("y", "BYTES", (-1,)), np.array([b"a", "b"], object), ["a", "b"]),
        (TensorSpec("y", "BYTES", (-1, 2)), np.array([[b"a", b"\xff"]], object), [["a", {"b64": "/w=="}]]),
        (TensorSpec("y", "BYTES", (-1,)), np.array([b"\xff", "\u00e4"], object), [{"b64": "/w=="}, "\u00e4"]),
    ],
)
def test_one_output_gives_a_value_a_row(spec: TensorSpec, array: Array, expected: Any) -> None:
    assert predictions({spec.name: array}, spec) == expected


def test_scores_are_told_as_exactly_as_the_model_gave_them() -> None:
    exact = TensorSpec("scores", "FP64", (-1, 2), labels=("cat", "dog"))
    third = 1 / 3
    assert predictions({"scores": np.array([[third, 1 - third]])}, exact) == [{"cat": third, "dog": 1 - third}]


def test_several_outputs_give_an_object_a_row() -> None:
    outputs = {"label": np.array([1, 0]), "scores": np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)}
    assert predictions(outputs, LABEL, SCORES) == [
        {"label": "dog", "scores": {"cat": 0.0, "dog": 1.0}},
        {"label": "cat", "scores": {"cat": 1.0, "dog": 0.0}},
    ]


def test_an_output_the_signature_does_not_name_is_told_as_it_is() -> None:
    assert predictions({"extra": np.array([1.5])}, LABEL) == [1.5]
