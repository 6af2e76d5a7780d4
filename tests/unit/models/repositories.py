"""Model repositories written down in a test, with empty files for weights: all that comes before loading."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from workers.inference.models.repository import ModelRepository

Fields = dict[str, Any]


def fields(**changes: Any) -> Fields:
    """A sound model.yaml as values. A change to None takes the field out."""
    sound: Fields = {
        "name": "digits",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 64,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [8, 8]}],
        "output": [{"name": "label", "data_type": "TYPE_INT64", "dims": []}],
    }
    return {key: value for key, value in {**sound, **changes}.items() if value is not None}


def write_model(
    root: Path,
    content: Fields | str | None = None,
    *,
    name: str = "digits",
    versions: tuple[str, ...] = ("1",),
    filename: str = "model.onnx",
) -> Path:
    """A model directory with a model.yaml and an empty file of weights a version. Returns the directory."""
    model = root / name
    for version in versions:
        (model / version).mkdir(parents=True, exist_ok=True)
        (model / version / filename).touch()
    model.mkdir(exist_ok=True)
    if not isinstance(content, str):
        content = json.dumps(fields(name=name) if content is None else content)  # JSON is YAML
    (model / "model.yaml").write_text(content)
    return model


def installed(*modules: str) -> Callable[[str], bool]:
    """An environment in which only these modules can be imported."""
    return lambda module: module in modules


def why_not(root: Path, pattern: str = "digits") -> str:
    """The error of a model that is asked for by name."""
    with pytest.raises(ConfigurationError) as caught:
        ModelRepository(root, installed("onnxruntime", "torch", "safetensors", "tokenizers")).scan([pattern])
    return caught.value.message
