"""Folders that MLflow 3.17 wrote (`mlflow/`) become models of ours."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli import main
from schemas.errors import ConfigurationError
from tests.integration.models.needs import need
from workers.inference.backends import Backend, load_backend
from workers.inference.models.repository import ModelRepository

need("onnxruntime")
need("sklearn")
need("pandas")

import joblib  # noqa: E402 - after the checks above
import pandas as pd  # noqa: E402
from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

SAVED = Path(__file__).with_name("mlflow")
SETOSA, VIRGINICA = [5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]
ROWS = np.array([SETOSA, VIRGINICA], np.float32)


def imported(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", "mlflow", *map(str, arguments)])


def load(repository: Path, name: str) -> Backend:
    (version,) = ModelRepository(repository, trust="code").scan([name])
    return load_backend(version, "cpu")


def fields(repository: Path, name: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.safe_load((repository / name / "model.yaml").read_text())
    return content


def altered(root: Path, saved: str, **changes: Any) -> Path:
    copytree(SAVED / saved, root / saved)
    model = yaml.safe_load((root / saved / "MLmodel").read_text())
    (root / saved / "MLmodel").write_text(yaml.safe_dump({**model, **changes}))
    return root / saved


FUNCTION = {"python_function": {"loader_module": "mlflow.sklearn"}}
SKOPS = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "skops"}}


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


def signature(**tensors: Any) -> dict[str, Any]:
    return {"signature": {name: json.dumps(value) for name, value in tensors.items()}}


@pytest.mark.parametrize(
    ("saved", "given", "output"),
    [("iris_graph", "X", "label"), ("iris_pickled", "features", "prediction"), ("iris_columns", "features", "kind")],
)
def test_an_imported_model_answers_as_it_did(tmp_path: Path, saved: str, given: str, output: str) -> None:
    result = imported(SAVED / saved, tmp_path, "--name", "iris", "--version", "3", "--max-batch-size", "8")
    assert result.exit_code == 0, result.output
    assert load(tmp_path, "iris/3").run({given: ROWS})[output].tolist() == [0, 2]
    assert fields(tmp_path, "iris")["max_batch_size"] == 8


def test_an_array_without_a_name_is_called_as_in_the_graph(tmp_path: Path) -> None:
    assert imported(SAVED / "width_graph", tmp_path).exit_code == 0
    widths = load(tmp_path, "width-graph").run({"X": ROWS[:, :3]})["variable"]
    np.testing.assert_allclose(widths[:, 0], ROWS[:, 3], atol=0.5)


def test_a_pickle_is_pinned_and_says_that_it_is_code(tmp_path: Path) -> None:
    assert imported(SAVED / "iris_pickled", tmp_path).exit_code == 0
    assert fields(tmp_path, "iris-pickled")["trust"] == "code"
    with pytest.raises(ConfigurationError, match="runs the model's own code, and this worker may not"):
        ModelRepository(tmp_path).scan()
    (tmp_path / "iris-pickled" / "1" / "model.joblib").write_bytes(b"another")
    (version,) = ModelRepository(tmp_path, trust="code").scan()
    with pytest.raises(ConfigurationError, match="is not the file that"):
        load_backend(version, "cpu")


def test_columns_of_a_data_frame_become_features(tmp_path: Path) -> None:
    imported(SAVED / "iris_columns", tmp_path)
    assert fields(tmp_path, "iris-columns")["features"] == [
        "sepal_length",
        "sepal_width",
        "petal_length",
        "petal_width",
    ]


def test_columns_of_several_types_are_an_input_each_and_numbers_may_be_missing(tmp_path: Path) -> None:
    inputs = [{"type": "string", "name": "city"}, {"type": "double", "name": "age"}, {"type": "boolean", "name": "old"}]
    changes = signature(inputs=inputs, outputs=[{"type": "string", "name": "kind"}])
    assert imported(altered(tmp_path, "iris_columns", **changes), tmp_path / "models").exit_code == 0
    written = fields(tmp_path / "models", "iris-columns")
    assert written["input"] == [
        {"name": "city", "data_type": "TYPE_STRING", "dims": []},
        {"name": "age", "data_type": "TYPE_FP64", "dims": [], "allow_nan": True},
        {"name": "old", "data_type": "TYPE_BOOL", "dims": []},
    ]
    assert "features" not in written
    assert written["output"] == [{"name": "kind", "data_type": "TYPE_STRING", "dims": []}]


def test_a_pipeline_that_chooses_columns_by_name_answers_as_it_did(tmp_path: Path) -> None:
    saved = altered(
        tmp_path,
        "iris_columns",
        **signature(
            inputs=[{"type": "double", "name": "age"}, {"type": "double", "name": "fare"}],
            outputs=[{"type": "long"}],
        ),
    )
    frame = pd.DataFrame({"age": [22.0, 38.0, np.nan, 35.0], "fare": [7.0, 71.0, 8.0, 53.0]})
    steps = make_column_transformer((SimpleImputer(), ["fare", "age"]))
    pipeline = make_pipeline(steps, LogisticRegression()).fit(frame, [0, 1, 0, 1])
    joblib.dump(pipeline, saved / "model.pkl")
    assert imported(saved, tmp_path / "models").exit_code == 0
    table = frame.to_numpy()
    answered = load(tmp_path / "models", "iris-columns/1").run({"features": table})["prediction"]
    assert answered.tolist() == pipeline.predict(frame).tolist() == [0, 1, 0, 1]


class Mlflow(ModuleType):
    """In place of MLflow's module `mlflow.pyfunc`: the model is a function of what it is given."""

    def __init__(self, predict: Callable[[Any], Any]) -> None:
        super().__init__("mlflow.pyfunc")
        self.predict = predict

    def load_model(self, path: str) -> "Mlflow":
        assert (Path(path) / "MLmodel").is_file()
        return self


@pytest.mark.parametrize(
    ("inputs", "outputs", "predict", "given", "answered"),
    [
        (
            [{"type": "string", "name": "city"}, {"type": "double", "name": "age"}],
            [{"type": "string", "name": "kind"}, {"type": "long", "name": "n"}],
            lambda frame: pd.DataFrame({"n": [1] * len(frame), "kind": frame["city"] + frame["age"].astype(str)}),
            {"city": np.array([b"Bern", "Chur"], object), "age": np.array([2.0, 3.0])},
            {"kind": ["Bern2.0", "Chur3.0"], "n": [1, 1]},
        ),
        (
            [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}],
            [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}],
            lambda array: array.sum(axis=1).astype(np.float64),
            {"input": np.ones((2, 2), np.float32)},
            {"prediction": [2.0, 2.0]},
        ),
        (
            [{"type": "tensor", "name": x, "tensor-spec": {"dtype": "int64", "shape": [-1]}} for x in "ab"],
            [{"type": "tensor", "name": "y", "tensor-spec": {"dtype": "int64", "shape": [-1]}}],
            lambda arrays: {"y": arrays["a"] - arrays["b"]},
            {"a": np.array([3, 2]), "b": np.array([1, 1])},
            {"y": [2, 1]},
        ),
    ],
    ids=["columns", "an array", "arrays"],
)
def test_what_only_mlflow_can_run_is_run_by_a_handler(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: Any,
    outputs: Any,
    predict: Callable[[Any], Any],
    given: dict[str, Any],
    answered: dict[str, Any],
) -> None:
    changes = {"flavors": {**FUNCTION, **SKOPS}, **signature(inputs=inputs, outputs=outputs)}
    result = imported(altered(tmp_path, "iris_pickled", **changes), tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert "a worker runs it with mlflow and what requirements.txt lists" in result.stderr
    module = ModuleType("mlflow")
    module.pyfunc = Mlflow(predict)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc", module.pyfunc)
    outcome = load(tmp_path / "models", "iris-pickled").run(given)
    assert {name: array.tolist() for name, array in outcome.items()} == answered


def test_every_file_that_mlflow_reads_is_pinned(tmp_path: Path) -> None:
    model = altered(tmp_path, "iris_pickled", flavors=FUNCTION)
    assert imported(model, tmp_path / "models").exit_code == 0
    pinned = set(fields(tmp_path / "models", "iris-pickled")["sha256"])
    assert pinned == {"handler.py", *(f"mlflow/{path.name}" for path in model.iterdir())}


def test_what_does_not_come_along_is_told(tmp_path: Path) -> None:
    told = imported(SAVED / "iris_pickled", tmp_path).stderr
    assert "requirements.txt: left behind: a worker runs on the packages that are installed with it" in told
    assert "scikit-learn 1.9.1 pickled it, and should unpickle it" in told


def test_weights_beside_a_graph_come_along(tmp_path: Path) -> None:
    model = altered(tmp_path, "iris_graph")
    (model / "weights.data").write_bytes(b"weights")
    imported(model, tmp_path / "models")
    version = tmp_path / "models" / "iris-graph" / "1"
    assert sorted(file.name for file in version.iterdir()) == ["model.onnx", "weights.data"]


@pytest.mark.parametrize(
    ("saved", "changes", "reason"),
    [
        (
            "iris_graph",
            {"flavors": {"pytorch": {}, "python_function": {}}},
            "only onnx, sklearn and python_function are taken",
        ),
        ("iris_graph", {"signature": None}, "signature.inputs: is missing: save the model with signature="),
        ("iris_graph", {"flavors": {"onnx": {"data": "../other"}}}, "the file '../other' that MLmodel names"),
        ("iris_pickled", {"flavors": SKOPS}, "flavors sklearn: only onnx, sklearn and python_function are taken"),
        ("iris_pickled", {"flavors": {"onnx": "?", "python_function": None}}, "the file 'model.onnx' that MLmodel"),
        (
            "iris_pickled",
            {"flavors": FUNCTION, **signature(inputs=[{"type": "double"}], outputs=[{"type": "double"}])},
            "signature: a column has no name",
        ),
        (
            "iris_columns",
            signature(inputs=[{"type": "datetime", "name": "day"}], outputs=[{"type": "long"}]),
            "signature: columns that are neither numbers nor texts: day (datetime)",
        ),
        (
            "iris_graph",
            signature(
                inputs=[{"type": "tensor", "name": "X", "tensor-spec": {"dtype": "float32", "shape": [4]}}],
                outputs=[{"type": "tensor", "name": "label", "tensor-spec": {"dtype": "int64", "shape": [-1]}}],
            ),
            "shape [4]: the first is not -1",
        ),
        (
            "iris_graph",
            signature(
                inputs=[{"type": "tensor", "name": "X", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}],
                outputs=[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}],
            ),
            "an output has no name, and the graph has label, probabilities",
        ),
        (
            "iris_pickled",
            signature(inputs=[tensor("datetime64", -1)], outputs=[tensor("int64", -1)]),
            "dtype",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(
    tmp_path: Path, saved: str, changes: dict[str, Any], reason: str
) -> None:
    result = imported(altered(tmp_path, saved, **changes), tmp_path / "models")
    assert result.exit_code == 1
    assert reason in result.output
