"""An estimator or pipeline of scikit-learn as an ONNX graph that gives the same answers."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import joblib
import numpy as np
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import is_classifier

from schemas.errors import ConfigurationError
from schemas.tensors import DTYPES, Array

INPUT: Final = "features"
SAMPLE_ROWS: Final = 256
SEED: Final = 0
NO_GRAPH: Final = (
    '; it can be served as joblib wrote it, also where it picks columns by name: docs/models.md, "scikit-learn"'
)

# Single precision on both sides, and sums in another order.
RELATIVE: Final = 1e-3
ABSOLUTE: Final = 1e-4

# In the order in which converters prefer them.
SCORES: Final = ("predict_proba", "decision_function", "transform")
# Some converters know no newer one.
OLDER_OPSET: Final = {"": 17, "ai.onnx.ml": 3}

_TRITON: Final = {np.dtype(DTYPES[name]): f"TYPE_{name}" for name in ("BOOL", "INT32", "INT64", "FP32", "FP64")}


class Graph(NamedTuple):
    """`outputs` are rows of the sample by output, as the graph gives them; they have its types and shapes.

    `features` are the columns' names, where the estimator was fitted on named ones, `classes` those of a classifier.
    """

    onnx: bytes
    columns: int
    outputs: Mapping[str, Array]
    features: tuple[str, ...]
    classes: tuple[str, ...]


def load_estimator(path: Path) -> Any:
    """Unpickle, which runs whatever code the file holds. Raises `ConfigurationError`."""
    try:
        return joblib.load(path)
    except (Exception, SystemExit) as error:  # a pickle may raise anything
        raise ConfigurationError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error


def read_sample(path: Path, columns: int) -> Array:
    """Rows of a .npy file, float32. Raises `ConfigurationError` where they are not rows of that many numbers."""
    try:
        rows = np.load(path, allow_pickle=False)
        sample = np.asarray(rows, dtype=np.float32)
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as an array of numbers: {error}") from error
    if sample.ndim != 2 or sample.shape[1] != columns or not len(sample):
        raise ConfigurationError(f"{path}: has shape {list(sample.shape)}, and the estimator takes rows of {columns}")
    return sample


def columns_of(estimator: Any) -> int:
    """How many numbers a row has. Raises `ConfigurationError` for what was not fitted on a table of numbers."""
    columns = getattr(estimator, "n_features_in_", None)
    if columns is None:
        raise ConfigurationError(
            f"{type(estimator).__name__}: was not fitted, or not on a table of numbers (it has no n_features_in_)"
        )
    return int(columns)


def to_graph(estimator: Any, sample: Array | None = None) -> Graph:
    """Convert, run both on `sample`, float32 [rows, columns], and compare. Without one, rows are drawn at random.

    Raises `ConfigurationError` if it cannot be converted, if either cannot take the rows or gives something else than
    an answer to each, or if the graph answers otherwise than the estimator.
    """
    columns = columns_of(estimator)
    name = type(estimator).__name__
    with _in_one_line(f"{name}: has no ONNX form", NO_GRAPH):
        model = _converted(estimator, columns)
    rows = np.random.default_rng(SEED).normal(size=(SAMPLE_ROWS, columns)).astype(np.float32)
    hint = "" if sample is not None else " (--sample gives rows like its own)"
    rows = rows if sample is None else sample
    with _in_one_line(f"{name}: its graph cannot be run on {'random' if sample is None else 'the sample'} rows{hint}"):
        session = onnxruntime.InferenceSession(model, _quiet(), providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, {INPUT: rows}), strict=True))
    _check_rows(name, outputs, len(rows))
    with _in_one_line(f"{name}: cannot be compared with its graph"):
        _compare(estimator, rows, outputs)
    features = tuple(str(each) for each in getattr(estimator, "feature_names_in_", ()))
    return Graph(model, columns, outputs, features, _classes(estimator, outputs))


@contextmanager
def _in_one_line(what: str, remedy: str = "") -> Iterator[None]:
    """Converters, runtimes and estimators raise whatever they come upon."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigurationError(f"{what}: {reason}{remedy}") from error


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors reach us as exceptions
    return options


def _converted(estimator: Any, columns: int) -> bytes:
    """Scores come as a table where the converter can do so, instead of a dict a row, which is no tensor; and the
    opset is the newest that the converter of this estimator knows."""
    types = [(INPUT, FloatTensorType([None, columns]))]
    asked: list[dict[str, Any]] = [
        {**options, **opset}
        for opset in ({}, {"target_opset": OLDER_OPSET})
        for options in ({"options": {id(estimator): {"zipmap": False}}}, {})
    ]
    failures: list[Exception] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # converters look at attributes that are going away
        for arguments in asked:
            try:
                content: bytes = convert_sklearn(estimator, initial_types=types, **arguments).SerializeToString()
                return content
            except (NameError, RuntimeError) as error:  # it knows no such option, or not so new an opset
                failures.append(error)
    raise next((each for each in failures if not isinstance(each, NameError)), failures[0])


def _check_rows(name: str, outputs: Mapping[str, Any], rows: int) -> None:
    for output, array in outputs.items():
        if not isinstance(array, np.ndarray) or array.shape[:1] != (rows,):
            raise ConfigurationError(f"{name}: output {output!r} of its graph is no tensor with a row for each row")


def _classes(estimator: Any, outputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Spelt as the graph's own answer spells them, which has integers for booleans and whole floats."""
    classes = np.ravel(getattr(estimator, "classes_", ())) if is_classifier(estimator) else np.array([])
    integers = any(array.dtype.kind == "i" for array in outputs.values())
    return tuple(str(int(each)) if integers else str(each) for each in classes)


def data_type(array: Array) -> str:
    """Triton's word for the type of an output."""
    return _TRITON.get(array.dtype, "TYPE_STRING")


def _compare(estimator: Any, rows: Array, outputs: Mapping[str, Array]) -> None:
    with warnings.catch_warnings():
        # Fitted on named columns, it warns of rows without names.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        try:
            answers = _answers(estimator, rows, len(outputs))
        except ValueError:  # some insist on the precision that they were fitted in
            answers = _answers(estimator, rows.astype(np.float64), len(outputs))
    for (name, ours), theirs in zip(outputs.items(), answers, strict=True):
        alike = _alike(ours, np.asarray(theirs).reshape(ours.shape))
        if not alike.all():
            raise ConfigurationError(
                f"output {name!r}: the graph answers {int((~alike).sum())} of {len(rows)} rows otherwise than "
                f"{type(estimator).__name__} does. Rows like its own, --sample, may tell whether that matters"
            )


def _answers(estimator: Any, rows: Array, outputs: int) -> list[Any]:
    """What the graph's outputs stand for: a class and its scores, a prediction, or transformed rows."""
    if not hasattr(estimator, "predict"):
        return [estimator.transform(rows)]
    if outputs == 1:
        return [estimator.predict(rows)]
    # Of a clustering the scores are the distances to the centres.
    scores = next(method for method in SCORES if hasattr(estimator, method))
    return [estimator.predict(rows), getattr(estimator, scores)(rows)]


def _alike(ours: Array, theirs: Array) -> Array:
    """Row by row."""
    if ours.dtype.kind == "f":
        alike = np.isclose(ours, theirs.astype(ours.dtype), rtol=RELATIVE, atol=ABSOLUTE)
    else:
        alike = np.asarray(ours == theirs.astype(ours.dtype))
    rows: Array = alike.reshape(len(alike), -1).all(axis=1)
    return rows
