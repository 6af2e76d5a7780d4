"""A model's own function for comparing: trusted, pinned, and loaded where it is run."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigurationError
from schemas.signature import Signature, TensorSpec
from workers.inference.models.compare_config import CompareConfig
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import Pin
from workers.inference.shadows.own_function import load_function

SOURCE = b"def same(answered, shadowed):\n    return abs(answered['y'] - shadowed['y']).max() < 5\n"
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("y", "FP32", (-1, 1)),))


def version(directory: Path, function: str | None = "compare:same", source: bytes = SOURCE) -> ModelVersion:
    file = directory / "compare.py"
    file.write_bytes(SOURCE)
    return ModelVersion(
        model="digits",
        version="2",
        directory=directory,
        file=directory / "model.onnx",
        platform="onnxruntime_onnx",
        max_batch_size=4,
        max_wait_s=0.0,
        signature=SIGNATURE,
        compare=None if function is None else CompareConfig(function=function),
        pins=(Pin("compare.py", file, hashlib.sha256(source).hexdigest()),),
    )


def test_the_function_is_the_modules(tmp_path: Path) -> None:
    same = load_function(version(tmp_path))
    assert same is not None
    assert same({"y": np.array([1.0])}, {"y": np.array([4.0])})
    assert not same({"y": np.array([1.0])}, {"y": np.array([7.0])})


def test_its_module_may_have_classes_whose_types_are_looked_up_in_it(tmp_path: Path) -> None:
    source = b"""
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Limit:
    most: float = 5

def same(answered, shadowed):
    return abs(answered["y"] - shadowed["y"]).max() < Limit().most
"""
    found = version(tmp_path, source=source)
    (tmp_path / "compare.py").write_bytes(source)
    same = load_function(found)
    assert same is not None
    assert same({"y": np.array([1.0])}, {"y": np.array([4.0])})


def test_a_model_without_one_loads_nothing(tmp_path: Path) -> None:
    assert load_function(version(tmp_path, None)) is None


@pytest.mark.parametrize(
    ("function", "source", "why"),
    [
        ("compare:same", b"another", "is not the file that model.yaml pins"),
        ("compare:alike", SOURCE, "has no function alike"),
        ("others:same", SOURCE, "others.py is not pinned"),
    ],
)
def test_what_is_not_as_pinned_or_not_there_is_refused(tmp_path: Path, function: str, source: bytes, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        load_function(version(tmp_path, function, source))
