"""scikit-learn models, as joblib wrote them, answer in the declared types; untrusted pickles are never opened."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError, OutputInvalid
from tests.integration.models.code import load_trusted, pinned
from tests.integration.models.digits import held_out, version_of
from tests.integration.models.needs import need

need("sklearn")
need("joblib")
need("pandas")

import joblib  # noqa: E402 - after the checks above
import pandas as pd  # noqa: E402
from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder  # noqa: E402

NO_PARAMETERS: dict[str, Any] = {"parameters": {}}


def dumped(root: Path, model: object) -> Path:
    path = root / "model.joblib"
    joblib.dump(model, path)
    return path


@pytest.fixture(scope="module")
def classifier() -> LogisticRegression:
    """Trained on the rows that come with scikit-learn, but the held-out ones."""
    pixels, labels = load_digits(return_X_y=True)
    held = {row.tobytes() for row in held_out().images.reshape(-1, 64).astype(np.float64)}
    kept = [index for index, row in enumerate(pixels) if row.tobytes() not in held]
    return LogisticRegression(max_iter=2000).fit(pixels[kept] / 16, labels[kept])


class TestAnswers:
    def test_a_classifier_recognizes_held_out_digits(self, tmp_path: Path, classifier: LogisticRegression) -> None:
        backend = load_trusted(pinned(tmp_path, "sklearn_joblib", dumped(tmp_path, classifier), **NO_PARAMETERS))
        outputs = backend.run({"image": held_out().inputs["image"] / 16})
        assert (outputs["label"] == held_out().labels).mean() > 0.9
        assert outputs["probabilities"].dtype == np.float32
        np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, rtol=1e-5)

    def test_another_method_may_be_chosen(self, tmp_path: Path, classifier: LogisticRegression) -> None:
        parameters = {"sklearn": {"methods": {"probabilities": "decision_function"}}}
        file = dumped(tmp_path, classifier)
        backend = load_trusted(pinned(tmp_path, "sklearn_joblib", file, parameters=parameters))
        rows = held_out().inputs["image"][:3]
        expected = classifier.decision_function(rows.reshape(3, -1))
        np.testing.assert_allclose(backend.run({"image": rows})["probabilities"], expected, rtol=1e-4)

    def test_a_pipeline_takes_texts(self, tmp_path: Path) -> None:
        pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(["good", "bad"] * 8, ["yes", "no"] * 8)
        changes = {
            "input": [{"name": "text", "data_type": "TYPE_STRING", "dims": []}],
            "output": [{"name": "label", "data_type": "TYPE_STRING", "dims": []}],
            "image": None,
        }
        file = dumped(tmp_path, pipeline)
        backend = load_trusted(pinned(tmp_path, "sklearn_joblib", file, **NO_PARAMETERS, **changes))
        outputs = backend.run({"text": np.array(["good", b"bad"], dtype=object)})
        assert outputs["label"].tolist() == ["yes", "no"]

    @pytest.mark.parametrize("features", [["age", "fare"], ["fare", "age"], [], ["old", "price"]])
    def test_a_pipeline_finds_its_columns_by_name(self, tmp_path: Path, features: list[str]) -> None:
        """Clients may call them otherwise, in the order of the estimator's, or name them in another order."""
        steps = make_column_transformer((SimpleImputer(), ["age"]), ("passthrough", ["fare"]))
        frame = pd.DataFrame({"age": [20.0, np.nan, 40.0], "fare": [1.0, 2.0, 3.0]})
        file = dumped(tmp_path, make_pipeline(steps, LinearRegression()).fit(frame, [21.0, 32.0, 43.0]))
        changes = {
            "input": [{"name": "table", "data_type": "TYPE_FP64", "dims": [2], "allow_nan": True}],
            "output": [{"name": "sum", "data_type": "TYPE_FP64", "dims": []}],
            "features": features,
            "image": None,
        }
        backend = load_trusted(pinned(tmp_path, "sklearn_joblib", file, **NO_PARAMETERS, **changes))
        rows = np.array([[20.0, 1.0], [np.nan, 2.0]])
        if features == ["fare", "age"]:
            rows = rows[:, ::-1]
        np.testing.assert_allclose(backend.run({"table": rows})["sum"], [21.0, 32.0])

    def test_columns_of_several_types_are_an_input_each(self, tmp_path: Path) -> None:
        steps = make_column_transformer((OneHotEncoder(), ["city"]), (SimpleImputer(), ["age"]))
        frame = pd.DataFrame({"age": [20.0, 40.0, 20.0, 40.0], "city": ["Bern", "Bern", "Z\u00fcrich", "Z\u00fcrich"]})
        file = dumped(tmp_path, make_pipeline(steps, LogisticRegression()).fit(frame, ["no", "no", "yes", "yes"]))
        changes = {
            "input": [
                {"name": "city", "data_type": "TYPE_STRING", "dims": []},
                {"name": "age", "data_type": "TYPE_FP64", "dims": [], "allow_nan": True},
            ],
            "output": [{"name": "label", "data_type": "TYPE_STRING", "dims": []}],
            "image": None,
        }
        backend = load_trusted(pinned(tmp_path, "sklearn_joblib", file, **NO_PARAMETERS, **changes))
        cities = np.array(["Z\u00fcrich".encode(), "Bern"], dtype=object)
        outputs = backend.run({"city": cities, "age": np.array([np.nan, 30.0])})
        assert outputs["label"].tolist() == ["yes", "no"]

    def test_an_answer_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        file = dumped(tmp_path, Ridge().fit(np.eye(64), np.arange(64) / 7))
        output = [{"name": "label", "data_type": "TYPE_INT64", "dims": []}]
        backend = load_trusted(pinned(tmp_path, "sklearn_joblib", file, **NO_PARAMETERS, output=output))
        with pytest.raises(OutputInvalid, match="output 'label' is float64, not INT64"):
            backend.run({"image": held_out().inputs["image"][:2]})


class TestLoading:
    @pytest.mark.parametrize(
        ("model", "told"),
        [
            (
                Ridge().fit(np.eye(64), np.arange(64)),
                "output 'probabilities' wants predict_proba, and Ridge has no such method",
            ),
            (
                LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]),
                "input 'image' has 64 values a row, and LogisticRegression was fitted on 4",
            ),
            ("no estimator", "output 'label' wants predict, and str has no such method"),
        ],
    )
    def test_what_does_not_fit_is_told(self, tmp_path: Path, model: object, told: str) -> None:
        repository = pinned(tmp_path, "sklearn_joblib", dumped(tmp_path, model), **NO_PARAMETERS)
        with pytest.raises(ConfigurationError) as caught:
            load_trusted(repository)
        assert f"{repository / 'digits' / '2' / 'model.joblib'}: {told}" in caught.value.message

    def test_a_file_that_is_no_pickle_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "model.joblib").write_bytes(b"no pickle")
        repository = pinned(tmp_path, "sklearn_joblib", tmp_path / "model.joblib", **NO_PARAMETERS)
        with pytest.raises(ConfigurationError, match=r"model\.joblib: cannot be loaded: "):
            load_trusted(repository)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, traces: Path) -> None:
        self._traces = traces

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._traces,)


class TestTrust:
    """A pickle that runs code runs none before model, pin and worker agree."""

    @pytest.fixture
    def traces(self, tmp_path: Path) -> Path:
        return tmp_path / "traces"

    @pytest.fixture
    def repository(self, tmp_path: Path, traces: Path) -> Path:
        (tmp_path / "model.joblib").write_bytes(pickle.dumps(Trap(traces)))
        return pinned(tmp_path, "sklearn_joblib", tmp_path / "model.joblib", **NO_PARAMETERS)

    def test_a_worker_without_trust_never_opens_it(self, repository: Path, traces: Path) -> None:
        with pytest.raises(ConfigurationError, match="this worker may not"):
            version_of("digits/2", lambda _: True, repository)
        assert not traces.exists()

    def test_a_file_that_was_changed_after_pinning_is_never_opened(self, repository: Path, traces: Path) -> None:
        with (repository / "digits" / "2" / "model.joblib").open("ab") as file:
            file.write(b".")
        with pytest.raises(ConfigurationError, match=r"model\.joblib: is not the file that model\.yaml pins"):
            load_trusted(repository)
        assert not traces.exists()

    def test_with_all_three_it_is_opened_which_shows_that_the_trap_works(self, repository: Path, traces: Path) -> None:
        with pytest.raises(ConfigurationError):
            load_trusted(repository)
        assert traces.exists()
