"""An estimator or pipeline of scikit-learn as an ONNX graph that gives the same answers."""

import warnings
from collections.abc import Mapping
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

# Single precision on both sides, and sums in another order.
RELATIVE: Final = 1e-3
ABSOLUTE: Final = 1e-4

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
    except (OSError, ValueError, TypeError) as error:
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

    Raises `ConfigurationError` if it cannot be converted, or if the graph answers otherwise than the estimator.
    """
    columns = columns_of(estimator)
    model = _converted(estimator, columns)
    rows = np.random.default_rng(SEED).normal(size=(SAMPLE_ROWS, columns)).astype(np.float32)
    rows = rows if sample is None else sample
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {INPUT: rows}), strict=True))
    _compare(estimator, rows, outputs)
    return Graph(
        model,
        columns,
        outputs,
        tuple(str(name) for name in getattr(estimator, "feature_names_in_", ())),
        _classes(estimator, outputs) if is_classifier(estimator) else (),
    )


def _classes(estimator: Any, outputs: Mapping[str, Array]) -> tuple[str, ...]:
    """The classes as the graph's answers spell them: it gives integers where the estimator has booleans or floats."""
    classes = np.ravel(getattr(estimator, "classes_", ()))
    if any(rows.dtype.kind in "iu" for rows in outputs.values()) and classes.dtype.kind in "bf":
        classes = classes.astype(np.int64)
    return tuple(map(str, classes))


def _converted(estimator: Any, columns: int) -> bytes:
    types = [(INPUT, FloatTensorType([None, columns]))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # converters look at attributes that are going away
            try:
                # Scores as a table, instead of a dict a row, which is no tensor.
                model = convert_sklearn(estimator, initial_types=types, options={id(estimator): {"zipmap": False}})
            except NameError:  # it makes no dicts, and refuses the option
                model = convert_sklearn(estimator, initial_types=types)
    except Exception as error:  # its converters raise whatever they come upon
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(f"{type(estimator).__name__}: has no ONNX form: {reason}") from error
    content: bytes = model.SerializeToString()
    return content


def data_type(array: Array) -> str:
    """Triton's word for the type of an output."""
    return _TRITON.get(array.dtype, "TYPE_STRING")


def _compare(estimator: Any, rows: Array, outputs: Mapping[str, Array]) -> None:
    with warnings.catch_warnings():
        # Fitted on named columns, it warns of rows without names.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        answers = _answers(estimator, rows, len(outputs))
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
    scores = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.decision_function
    return [estimator.predict(rows), scores(rows)]


def _alike(ours: Array, theirs: Array) -> Array:
    """Row by row."""
    if ours.dtype.kind == "f":
        alike = np.isclose(ours, theirs.astype(ours.dtype), rtol=RELATIVE, atol=ABSOLUTE)
    else:
        alike = np.asarray(ours == theirs.astype(ours.dtype))
    rows: Array = alike.reshape(len(alike), -1).all(axis=1)
    return rows
