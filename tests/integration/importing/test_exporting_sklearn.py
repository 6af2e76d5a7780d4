"""Estimators of scikit-learn become graphs that answer alike, or are not exported."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from penstock.cli import main
from schemas.errors import ConfigurationError
from tests.integration.models.digits import load
from tests.integration.models.needs import need

need("onnxruntime")
need("skl2onnx")
need("sklearn")

import joblib  # noqa: E402 - after the checks above
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.ensemble import IsolationForest, RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.mixture import GaussianMixture  # noqa: E402
from sklearn.multioutput import MultiOutputClassifier  # noqa: E402
from sklearn.neighbors import NearestNeighbors  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.svm import SVC, LinearSVC, OneClassSVM  # noqa: E402

from penstock.exporting.sklearn import to_graph  # noqa: E402
from workers.inference.models.repository import ModelRepository  # noqa: E402

IRIS = load_iris()
X = IRIS.data.astype(np.float32)
KINDS = IRIS.target_names[IRIS.target]


def exported(root: Path, estimator: Any, *options: str) -> Result:
    joblib.dump(estimator, root / "model.joblib")
    arguments = [str(root / "model.joblib"), str(root / "models"), "--name", "iris", *options]
    return CliRunner().invoke(main, ["export", "sklearn", *arguments])


@pytest.mark.parametrize(
    ("estimator", "outputs"),
    [
        (make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), {"label": [], "probabilities": [3]}),
        (RandomForestClassifier(10, random_state=0), {"label": [], "probabilities": [3]}),
        (LinearSVC(max_iter=10_000, random_state=0), {"label": [], "probabilities": [3]}),
        (SVC(), {"label": [], "probabilities": [3]}),
    ],
    ids=["pipeline", "forest", "linear scores", "scores"],
)
def test_a_classifier_answers_as_it_did(tmp_path: Path, estimator: Any, outputs: dict[str, list[int]]) -> None:
    estimator.fit(X, IRIS.target)
    result = exported(tmp_path, estimator, "--trust")
    assert result.exit_code == 0, result.output
    assert "256 random rows answered alike" in result.stderr
    answered = load("iris/1", repository=tmp_path / "models").run({"features": X})
    np.testing.assert_array_equal(answered["label"], estimator.predict(X))
    assert {name: list(array.shape[1:]) for name, array in answered.items()} == outputs


def test_a_classifier_of_words_answers_with_words(tmp_path: Path) -> None:
    estimator = LogisticRegression(max_iter=500).fit(X, KINDS)
    assert exported(tmp_path, estimator, "--trust").exit_code == 0
    assert (tmp_path / "models" / "iris" / "labels.txt").read_text().split() == ["setosa", "versicolor", "virginica"]
    answered = load("iris/1", repository=tmp_path / "models").run({"features": X[[0, 100]]})
    assert answered["label"].tolist() == ["setosa", "virginica"]


@pytest.mark.parametrize("classes", [(False, True), (0.0, 1.0)], ids=["booleans", "floats"])
def test_classes_are_spelled_as_the_graphs_answers_spell_them(tmp_path: Path, classes: tuple[Any, Any]) -> None:
    estimator = LogisticRegression(max_iter=500).fit(X, np.array(classes)[(IRIS.target == 0).astype(int)])
    assert exported(tmp_path, estimator, "--trust").exit_code == 0
    labels = (tmp_path / "models" / "iris" / "labels.txt").read_text().split()
    answered = load("iris/1", repository=tmp_path / "models").run({"features": X})
    assert {str(label) for label in answered["label"]} == set(labels)


def test_classes_that_are_no_lines_of_a_file_are_told_by_their_place(tmp_path: Path) -> None:
    estimator = LogisticRegression(max_iter=500).fit(X, np.array([" a", "b\nc"])[(IRIS.target == 0).astype(int)])
    assert exported(tmp_path, estimator, "--trust").exit_code == 0
    assert not (tmp_path / "models" / "iris" / "labels.txt").exists()


@pytest.mark.parametrize(
    "estimator", [LinearRegression().fit(X, IRIS.target), StandardScaler().fit(X)], ids=["regressor", "transformer"]
)
def test_regressors_and_transformers_go_too(tmp_path: Path, estimator: Any) -> None:
    assert exported(tmp_path, estimator, "--trust").exit_code == 0
    answered = load("iris/1", repository=tmp_path / "models").run({"features": X})["variable"]
    asked = estimator.predict(X)[:, None] if hasattr(estimator, "predict") else estimator.transform(X)
    np.testing.assert_allclose(answered, asked, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("estimator", "scores"),
    [
        (KMeans(3, n_init=1, random_state=0), "transform"),
        (IsolationForest(n_estimators=10, random_state=0), "decision_function"),
        (OneClassSVM(), "decision_function"),
        (GaussianMixture(3, random_state=0), "predict_proba"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_clusters_mixtures_and_outliers_go_with_their_scores(tmp_path: Path, estimator: Any, scores: str) -> None:
    estimator.fit(IRIS.data)
    result = exported(tmp_path, estimator, "--trust")
    assert result.exit_code == 0, result.output
    answered = load("iris/1", repository=tmp_path / "models").run({"features": X})
    np.testing.assert_array_equal(answered["label"].ravel(), estimator.predict(IRIS.data))
    asked = getattr(estimator, scores)(IRIS.data)
    ours = next(array for name, array in answered.items() if name != "label")
    np.testing.assert_allclose(ours, asked.reshape(ours.shape), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (IRIS.target == 0, ("0", "1")),
        (IRIS.target.astype(float), ("0", "1", "2")),
        (IRIS.target.astype(np.uint8), ("0", "1", "2")),
        (np.array(["\u00e4 b", "c", "d"])[IRIS.target], ("c", "d", "\u00e4 b")),
    ],
    ids=["booleans", "floats", "bytes", "texts"],
)
def test_classes_are_spelt_as_the_answer_spells_them(tmp_path: Path, classes: Any, labels: tuple[str, ...]) -> None:
    assert exported(tmp_path, LogisticRegression(max_iter=500).fit(X, classes), "--trust").exit_code == 0
    (version,) = ModelRepository(tmp_path / "models").scan()
    assert version.signature.outputs[1].labels == labels
    label = load("iris/1", repository=tmp_path / "models").run({"features": X})["label"]
    assert {str(each) for each in label.tolist()} == set(labels)


@pytest.mark.parametrize("name", ["two\nlines", " space ", ""])
def test_classes_whose_names_are_no_lines_go_without_and_that_is_told(tmp_path: Path, name: str) -> None:
    estimator = LogisticRegression(max_iter=500).fit(X, np.where(IRIS.target == 0, name, "other"))
    result = exported(tmp_path, estimator, "--trust")
    assert "probabilities: without labels: the classes' names cannot stand in a line each" in result.stderr
    (version,) = ModelRepository(tmp_path / "models").scan()
    assert version.signature.outputs[1].labels == ()


def test_names_of_columns_become_features(tmp_path: Path) -> None:
    estimator = LinearRegression().fit(X, IRIS.target)
    estimator.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)
    exported(tmp_path, estimator, "--trust")
    written = yaml.safe_load((tmp_path / "models" / "iris" / "model.yaml").read_text())
    assert written["features"] == ["a", "b", "c", "d"]


def test_without_a_word_of_trust_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "traces"),)

    result = exported(tmp_path, Trap())
    assert result.exit_code == 2
    assert "runs whatever code it holds: say --trust" in result.stderr
    assert not (tmp_path / "traces").exists()


def test_a_graph_that_answers_otherwise_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = LogisticRegression(max_iter=500).fit(X, IRIS.target)
    # An estimator that was changed behind its converter's back.
    monkeypatch.setattr(LogisticRegression, "predict", lambda self, rows: np.zeros(len(rows), np.int64))
    with pytest.raises(ConfigurationError, match=r"output 'label': the graph answers \d+ of 256 rows otherwise"):
        to_graph(estimator)


def test_whatever_an_estimator_raises_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(self: object, rows: object) -> None:
        raise ZeroDivisionError("it is\nodd")

    monkeypatch.setattr(LinearRegression, "predict", odd)
    with pytest.raises(ConfigurationError, match="LinearRegression: cannot be compared with its graph: it is odd"):
        to_graph(LinearRegression().fit(X, IRIS.target))


def test_a_sample_takes_the_place_of_random_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "sample.npy", X[::3])
    estimator = LogisticRegression(max_iter=500).fit(X, IRIS.target)
    result = exported(tmp_path, estimator, "--trust", "--sample", str(tmp_path / "sample.npy"))
    assert "50 sample rows answered alike" in result.stderr


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (LogisticRegression(), "LogisticRegression: was not fitted, or not on a table of numbers"),
        (NearestNeighbors().fit(X), "NearestNeighbors: has no ONNX form"),
        (
            NearestNeighbors().fit(X),
            "it can be served as joblib wrote it, also where it picks columns by name: docs/mod",
        ),
        (
            MultiOutputClassifier(LogisticRegression()).fit(X[:, :2], X[:, 2:] > 1),
            "output 'probabilities' of its graph is no tensor with a row for each row",
        ),
        (
            make_pipeline(OneHotEncoder(), LogisticRegression()).fit(IRIS.target[:, None], IRIS.target),
            "Pipeline: its graph cannot be run on random rows (--sample gives rows like its own): ",
        ),
    ],
    ids=["unfitted", "no form", "the way out", "two targets", "known categories"],
)
def test_what_cannot_be_converted_is_told(tmp_path: Path, estimator: Any, reason: str) -> None:
    result = exported(tmp_path, estimator, "--trust")
    assert result.exit_code == 1
    assert reason in result.output
    assert len(result.stderr.splitlines()) == 1


def test_a_file_that_is_no_estimator_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_text(json.dumps({"no": "pickle"}))
    arguments = ["export", "sklearn", str(tmp_path / "model.joblib"), str(tmp_path), "--name", "iris", "--trust"]
    assert "cannot be loaded" in CliRunner().invoke(main, arguments).output


def test_a_sample_of_another_width_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "sample.npy", X[:, :3])
    estimator = LogisticRegression(max_iter=500).fit(X, IRIS.target)
    result = exported(tmp_path, estimator, "--trust", "--sample", str(tmp_path / "sample.npy"))
    assert "has shape [150, 3], and the estimator takes rows of 4" in result.output
