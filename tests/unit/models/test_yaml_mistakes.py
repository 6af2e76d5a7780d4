"""Mistakes in a model.yaml are told once each, with what was meant, and nothing that only follows from others."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from tests.unit.models.repositories import fields, write_model
from workers.inference.models.model_file import read_model_file


def told(root: Path, content: dict[str, Any]) -> list[str]:
    file = read_model_file(write_model(root, content) / "model.yaml")
    with pytest.raises(ConfigurationError) as refused:
        file.version("1")
    return refused.value.message.removeprefix(f"{file.path}: ").split("; ")


def without(name: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in fields(**more).items() if key != name}


@pytest.mark.parametrize(
    ("content", "mistakes"),
    [
        (without("max_batch_size", max_batchsize=3), ["max_batchsize: unknown key (did you mean max_batch_size?)"]),
        (fields(verison=3, colour=1), ["colour: unknown key", "verison: unknown key (did you mean versions?)"]),
        (
            fields(output=[{"name": "y", "datatype": "INT64", "dims": []}]),
            ["output[0].datatype: unknown key (did you mean data_type?)"],
        ),
        (
            fields(output=[{"name": "y", "data_type": "INT64", "dims": [0]}]),
            ["output[0].dims[0]: a dimension is a size of at least 1, or -1 where it varies"],
        ),
        (fields(output=[3]), ["output[0]: input should be an object"]),
        (fields(output=[]), ["output: must not be empty"]),
        (fields(cost={"elements_off": "x"}), ["cost.elements_off: unknown key (did you mean elements_of?)"]),
        (
            fields(parameters={"onnxruntime": {"intra_op_thread": 1}}),
            ["parameters.onnxruntime.intra_op_thread: unknown key (did you mean intra_op_threads?)"],
        ),
        (
            fields(padding={"inputs": {"image": {"valu": 1}}}),
            ["padding.inputs.image.valu: unknown key (did you mean value?)"],
        ),
        (
            fields(versions={"1": {"max_batchsize": 3}}),
            ["versions.1.max_batchsize: unknown key (did you mean max_batch_size?)"],
        ),
    ],
)
def test_each_mistake_is_told_once_and_nothing_else(
    tmp_path: Path, content: dict[str, Any], mistakes: list[str]
) -> None:
    assert sorted(told(tmp_path, content)) == mistakes


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("FP33", "did you mean FP32?"),
        ("fp32", "did you mean FP32?"),
        ("TYPE_FLOAT", "did you mean FP32?"),
        ("float64", "did you mean FP64?"),
        ("int", "did you mean INT64?"),
        ("complex", "there are BOOL, UINT8,"),
    ],
)
def test_the_type_that_was_meant_is_named(tmp_path: Path, written: str, hint: str) -> None:
    (mistake,) = told(tmp_path, fields(output=[{"name": "y", "data_type": written, "dims": []}]))
    assert mistake.startswith(f"output[0].data_type: there is no type {written!r} ({hint}")


@pytest.mark.parametrize("written", [3, None, ["FP32"]])
def test_what_is_no_name_is_no_type(tmp_path: Path, written: object) -> None:
    (mistake,) = told(tmp_path, fields(output=[{"name": "y", "data_type": written, "dims": []}]))
    assert mistake.startswith("output[0].data_type: must be the name of a type, as FP32 or TYPE_FP32")
