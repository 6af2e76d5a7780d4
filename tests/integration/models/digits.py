"""The committed example, and altered copies of it."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any, Final, NamedTuple

import numpy as np
import yaml

from schemas.tensors import Array
from workers.inference.backends import Backend, load_backend
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
REPOSITORY: Final = EXAMPLES / "models"


class HeldOut(NamedTuple):
    images: Array  # uint8 [rows, 8, 8], 0 to 16
    labels: Array  # int64 [rows]

    @property
    def inputs(self) -> dict[str, Array]:
        return {"image": self.images.astype(np.float32)}


def held_out() -> HeldOut:
    with np.load(EXAMPLES / "digits" / "held_out.npz") as rows:
        return HeldOut(rows["images"], rows["labels"])


def only(*modules: str) -> Callable[[str], bool]:
    return lambda module: module in modules


ONNX: Final = only("onnxruntime")
TORCH: Final = only("torch", "safetensors")


def version_of(pattern: str, runtime: Callable[[str], bool] = ONNX, repository: Path = REPOSITORY) -> ModelVersion:
    """The one version that `pattern` names, as a worker with only that runtime sees it."""
    (version,) = ModelRepository(repository, runtime).scan([pattern])
    return version


def load(pattern: str, runtime: Callable[[str], bool] = ONNX, repository: Path = REPOSITORY) -> Backend:
    return load_backend(version_of(pattern, runtime, repository), "cpu")


def altered(root: Path, version: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """A repository with a copy of digits whose model.yaml `change` has edited; `version` is its own section there."""
    copytree(REPOSITORY / "digits", root / "digits")
    path = root / "digits" / "model.yaml"
    content = yaml.safe_load(path.read_text())
    own = content["versions"].pop(version)
    content = {**content, **own, "versions": {}, "default_version": None}
    change(content)
    path.write_text(json.dumps(content))  # JSON is YAML
    return root
