"""Loading what a worker was told to serve, on real ONNX Runtime."""

import shutil
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from workers.inference.repository import ModelRepository
from workers.inference.served import load_all

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """The linear digits, and `broken`: the same with weights that are no model."""
    for name in ("digits", "broken"):
        shutil.copytree(EXAMPLES / "digits" / "1", tmp_path / name / "1")
        shutil.copy(EXAMPLES / "digits" / "labels.txt", tmp_path / name)
        (tmp_path / name / "model.yaml").write_text(
            f"name: {name}\nplatform: onnxruntime_onnx\nmax_batch_size: 4\n"
            "input: [{name: image, data_type: TYPE_FP32, dims: [8, 8]}]\n"
            "output: [{name: label, data_type: TYPE_INT64, dims: []}, "
            "{name: probabilities, data_type: TYPE_FP32, dims: [10]}]\n"
        )
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    return ModelRepository(tmp_path)


def test_a_version_that_only_a_wildcard_met_and_that_cannot_be_loaded_is_left_out(repository: ModelRepository) -> None:
    loaded = load_all(repository.scan(["*"]), "cpu", ["*"])

    assert [model.version.name for model in loaded] == ["digits/1"]


@pytest.mark.parametrize("patterns", [["*", "broken"], ["broken/1", "digits"]])
def test_a_version_that_was_named_must_be_loaded(repository: ModelRepository, patterns: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="broken"):
        load_all(repository.scan(patterns), "cpu", patterns)


def test_a_worker_with_nothing_to_serve_does_not_start(repository: ModelRepository) -> None:
    with pytest.raises(ConfigurationError, match="broken"):
        load_all(repository.scan(["bro*"]), "cpu", ["bro*"])
