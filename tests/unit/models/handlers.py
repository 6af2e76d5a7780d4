"""Model repositories with a handler.py, pinned."""

import hashlib
import json
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.unit.models.repositories import Fields, fields
from workers.inference.backends import Backend, load_backend
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository

VALUES = {"name": "values", "data_type": "TYPE_FP32", "dims": [-1]}
TEXT = {"name": "text", "data_type": "TYPE_STRING", "dims": []}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def handler_fields(**changes: Any) -> Fields:
    """A sound model.yaml of a handler that makes one number a row; the pins are still to come."""
    sound: Fields = {
        "name": "sums",
        "platform": "python_handler",
        "trust": "code",
        "input": [VALUES],
        "output": [{"name": "sum", "data_type": "TYPE_FP32", "dims": []}],
    }
    return fields(**{**sound, **changes})


def write_handler(root: Path, files: dict[str, str], version: str = "1", **changes: Any) -> Path:
    """A model with these files, all pinned unless `sha256` is among the changes. Returns the version's directory."""
    content = handler_fields(**changes)
    texts = {name: dedent(text) for name, text in files.items()}
    content.setdefault("sha256", {name: digest(text) for name, text in texts.items()})
    directory = root / str(content["name"]) / version
    directory.mkdir(parents=True)
    for name, text in texts.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    (directory.parent / "model.yaml").write_text(json.dumps(content))  # JSON is YAML
    return directory


def scan(root: Path, name: str = "sums") -> ModelVersion:
    """As a worker sees it that may run code."""
    (version,) = ModelRepository(root, trust="code").scan([name])
    return version


def load_handler(root: Path, handler: str, **changes: Any) -> Backend:
    write_handler(root, {"handler.py": handler}, **changes)
    return load_backend(scan(root), "cpu")
