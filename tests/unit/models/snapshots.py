"""What a look at a repository may have found, written down in a test."""

from pathlib import Path
from typing import Any

from schemas.signature import Signature, TensorSpec
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import FileMark, Found, Snapshot

SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1,)),))


def found(version: str = "1", *, size_bytes: int = 100, written_ns: int = 1, **fields: Any) -> Found:
    """`digits/<version>`; `fields` are the model version's."""
    directory = Path("models", "digits", version)
    sound: dict[str, Any] = {
        "model": "digits",
        "version": version,
        "directory": directory,
        "file": directory / "model.onnx",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 8,
        "max_wait_s": 0.0,
        "signature": SIGNATURE,
    }
    mark = FileMark(str(directory / "model.onnx"), size_bytes, written_ns)
    return Found(ModelVersion(**{**sound, **fields}), frozenset([mark]))


def look(*versions: Found, there: tuple[str, ...] = (), **problems: str) -> Snapshot:
    """`there` are further versions, of which nothing else is known."""
    by_name = {each.version.name: each for each in versions}
    return Snapshot(by_name, problems, frozenset([*by_name, *there]))
