"""Loading and warming up a version, on real ONNX Runtime."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.errors import ConfigurationError, JobError
from schemas.tensors import Array
from workers.inference.backends import warmup
from workers.inference.backends.warmup import load_warm
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
TWO_WAYS = """
name: pairs
platform: onnxruntime_onnx
max_batch_size: 8
input: [{name: x, data_type: TYPE_FP32, dims: [-1]}]
output: [{name: y, data_type: TYPE_FP32, dims: []}]
"""


class Recorder:
    """A backend that takes down the shapes it is run with, and fails on those of `refused` rows."""

    def __init__(self, refused: int | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.last: Array | None = None
        self.closed = False
        self._refused = refused

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        del parameters
        self.shapes.append(inputs["x"].shape)
        self.last = inputs["x"]
        if len(inputs["x"]) == self._refused:
            raise JobError("too many")
        return {"y": inputs["x"][:, 0]}

    def close(self) -> None:
        self.closed = True


def version_of(root: Path, more: str = "") -> ModelVersion:
    (root / "pairs" / "1").mkdir(parents=True)
    (root / "pairs" / "1" / "model.onnx").touch()
    (root / "pairs" / "model.yaml").write_text(TWO_WAYS + more)
    (version,) = ModelRepository(root).scan()
    return version


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(refused=7)
    monkeypatch.setattr(warmup, "load_backend", lambda version, device: recorder)
    return recorder


def test_without_a_word_one_row_is_run_and_as_many_as_there_may_be(tmp_path: Path, recorder: Recorder) -> None:
    load_warm(version_of(tmp_path), "cpu")
    assert recorder.shapes == [(1, 1), (8, 1)]


def test_every_size_that_micro_batches_are_brought_to_is_run_in_every_length(
    tmp_path: Path, recorder: Recorder
) -> None:
    more = "dynamic_batching: {allowed_batch_sizes: [2, 8]}\npadding: {inputs: {x: {}}, lengths: [4, 16]}\n"
    load_warm(version_of(tmp_path, more), "cpu")
    assert recorder.shapes == [(2, 4), (8, 4), (2, 16), (8, 16)]


def test_what_model_yaml_lists_is_run_and_nothing_else(tmp_path: Path, recorder: Recorder) -> None:
    load_warm(version_of(tmp_path, "model_warmup: [{batch_size: 3, length: 5}]"), "cpu")
    assert recorder.shapes == [(3, 5)]


def test_without_warm_ups_nothing_is_run(tmp_path: Path, recorder: Recorder) -> None:
    load_warm(version_of(tmp_path, "model_warmup: []"), "cpu")
    assert recorder.shapes == []


def test_a_version_that_does_not_take_rows_that_were_made_up_is_served_and_the_log_says_why(
    tmp_path: Path, recorder: Recorder
) -> None:
    with capture_logs() as logs:
        load_warm(version_of(tmp_path, "model_warmup: [{batch_size: 7, length: 2}, {batch_size: 8}]"), "cpu")
    assert not recorder.closed
    assert recorder.shapes == [(7, 2), (8, 1)]
    (warning,) = (line for line in logs if line["log_level"] == "warning")
    assert warning["reason"] == "pairs/1: warm-up with 7 rows of length 2: too many"
    assert isinstance(warning["exc_info"].__cause__, JobError)


def test_rows_of_model_yaml_are_what_it_is_warmed_up_with(tmp_path: Path, recorder: Recorder) -> None:
    rows = "reference_rows: {inputs: {x: [[1, 2, 3], [4, 5, 6]]}}"
    load_warm(version_of(tmp_path, rows), "cpu")
    assert recorder.shapes == [(1, 3), (8, 3)]
    assert recorder.last is not None
    assert recorder.last.tolist() == [[1, 2, 3], [4, 5, 6]] * 4


def test_a_version_that_does_not_take_the_rows_of_its_model_yaml_is_refused_and_not_left_open(
    tmp_path: Path, recorder: Recorder
) -> None:
    more = "reference_rows: {inputs: {x: [[1, 2]]}}\nmodel_warmup: [{batch_size: 7}]"
    with pytest.raises(ConfigurationError, match="pairs/1: warm-up with 7 rows of length 1: too many"):
        load_warm(version_of(tmp_path, more), "cpu")
    assert recorder.closed


def test_weights_that_are_no_model_are_told_by_their_file(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "digits", tmp_path / "digits")
    (tmp_path / "digits" / "1" / "model.onnx").write_bytes(b"no model")
    (version,) = ModelRepository(tmp_path).scan(["digits/1"])
    with pytest.raises(ConfigurationError, match=r"digits/1/model\.onnx"):
        load_warm(version, "cpu")
