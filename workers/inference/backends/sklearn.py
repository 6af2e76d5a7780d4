"""scikit-learn estimators and pipelines, as joblib wrote them. Unpickling runs code: the file is pinned and trusted."""

from collections.abc import Callable, Mapping
from typing import Any

import joblib
import numpy as np

from runtime.extras import with_extra
from schemas.errors import ConfigurationError, OutputInvalid
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.models.model_version import ModelVersion

Table = Callable[[Mapping[str, Array]], Any]


class SklearnBackend:
    """`methods` are the estimator's, by output; `table` makes what they take of the inputs."""

    def __init__(self, methods: Mapping[str, Callable[[Any], Any]], table: Table, signature: Signature) -> None:
        self._methods = methods
        self._table = table
        self._outputs = signature.outputs

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:  # noqa: ARG002
        table = self._table(inputs)
        return {spec.name: _as_declared(spec, self._methods[spec.name](table)) for spec in self._outputs}

    def close(self) -> None:
        del self._methods


def load_sklearn(version: ModelVersion, signature: Signature) -> SklearnBackend:
    """Unpickle model.joblib and find its methods. Raises `ConfigurationError` naming the file and the rule."""
    try:
        estimator = joblib.load(version.file)
    except (Exception, SystemExit) as error:  # a pickle may raise anything
        raise ConfigurationError(f"{version.file}: cannot be loaded: {type(error).__name__}: {error}") from error
    chosen = version.parameters.sklearn.methods
    methods: dict[str, Callable[[Any], Any]] = {}
    for spec in signature.outputs:
        name = chosen.get(spec.name) or ("predict_proba" if spec.row_shape else "predict")
        method = getattr(estimator, name, None)
        if not callable(method):
            raise ConfigurationError(
                f"{version.file}: output {spec.name!r} wants {name}, and {type(estimator).__name__} has no such method "
                "(parameters.sklearn.methods chooses another)"
            )
        methods[spec.name] = method
    if len(signature.inputs) == 1:
        _check_columns(version, signature.inputs[0], estimator)
    return SklearnBackend(methods, _table_of(version, signature, estimator), signature)


def _table_of(version: ModelVersion, signature: Signature, estimator: object) -> Table:
    """A data frame with a column an input, or the columns' names where the estimator was fitted on named ones, so that
    steps may choose columns by name; else the one input as it is."""
    first, *others = signature.inputs
    fitted = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
    if not (others or fitted):
        return lambda inputs: _plain_table(inputs[first.name])
    try:
        import pandas as pd  # noqa: PLC0415 - few models need it
    except ModuleNotFoundError as error:
        if not others:
            return lambda inputs: _plain_table(inputs[first.name])
        raise ConfigurationError(f"{version.file}: columns by name need pandas ({with_extra('sklearn')})") from error
    if others:
        names = [spec.name for spec in signature.inputs]
        return lambda inputs: pd.DataFrame({name: _plain_column(inputs[name]) for name in names}, copy=False)
    given = version.signature.features
    # Other names than the estimator's are what clients are to say, in the order of its columns.
    columns = list(given if sorted(given) == sorted(fitted) else fitted)
    return lambda inputs: pd.DataFrame(_plain_table(inputs[first.name]), columns=columns, copy=False)[list(fitted)]


def _plain_table(array: Array) -> Any:
    return _texts(array) if array.dtype == object else array.reshape(len(array), -1)


def _plain_column(array: Array) -> Any:
    return _texts(array) if array.dtype == object else array


def _check_columns(version: ModelVersion, spec: TensorSpec, estimator: object) -> None:
    columns = getattr(estimator, "n_features_in_", None)
    if columns is None or spec.datatype == "BYTES" or -1 in spec.row_shape:
        return
    declared = int(np.prod(spec.row_shape))
    if declared != columns:
        raise ConfigurationError(
            f"{version.file}: input {spec.name!r} has {declared} values a row, and {type(estimator).__name__} was "
            f"fitted on {columns}"
        )


def _as_declared(spec: TensorSpec, answer: object) -> Array:
    """The estimator's answer in the declared type, where that keeps its kind: it computes in float64 mostly."""
    array = np.asarray(answer)
    dtype = DTYPES[spec.datatype]
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise OutputInvalid(f"output {spec.name!r} is {array.dtype}, not {spec.datatype}")
    return array.astype(dtype, copy=False)


def _texts(array: Array) -> list[str]:
    return [element.decode() if isinstance(element, bytes) else element for element in array.ravel()]
