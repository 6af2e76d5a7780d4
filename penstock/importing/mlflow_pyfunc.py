"""A model that only MLflow itself can run, whatever made it: its folder, and a handler that has MLflow run it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from penstock.importing.mlflow_signature import Schema, columns_of, schema_of, tensor_of
from penstock.importing.model_folder import files_under
from schemas.errors import ConfigurationError
from schemas.tensors import DTYPES
from workers.inference.models.data_types import DATATYPES
from workers.inference.models.pin import digest_of

FOLDER: Final = "mlflow"
HANDLER: Final = '''"""Has MLflow run the model that it saved in the folder `mlflow` beside this file."""

from collections.abc import Mapping

import mlflow.pyfunc
import numpy as np
import pandas as pd

from workers.inference.handler import Array, Context, Tensors


class Handler:
    def load(self, context: Context) -> None:
        self.given = context.config["given"]
        self.dtypes = context.config["dtypes"]
        self.model = mlflow.pyfunc.load_model(str(context.directory / "mlflow"))

    def preprocess(self, inputs: Tensors) -> object:
        plain = {name: texts_of(array) for name, array in inputs.items()}
        match self.given:
            case "columns":
                return pd.DataFrame(plain)
            case "arrays":
                return plain
            case _:
                return next(iter(plain.values()))

    def predict(self, given: object) -> object:
        return self.model.predict(given)

    def postprocess(self, answer: object) -> Tensors:
        if isinstance(answer, pd.DataFrame | Mapping):
            return {name: np.asarray(answer[name]).astype(dtype) for name, dtype in self.dtypes.items()}
        return {name: np.asarray(answer).astype(dtype) for name, dtype in self.dtypes.items()}


def texts_of(array: Array) -> Array:
    if array.dtype != object:
        return array
    whole = np.empty(array.shape, dtype=object)
    whole.ravel()[:] = [text.decode() for text in array.ravel()]
    return whole
'''


class Pyfunc(NamedTuple):
    """`fields` of model.yaml; `files` and `texts` by their paths in the version's folder."""

    fields: dict[str, Any]
    files: dict[str, Path]
    texts: dict[str, str]


def pyfunc_model(directory: Path, model: Mapping[str, Any]) -> Pyfunc:
    """MLflow's folder as it is and a handler beside it, every file pinned. Raises `ConfigurationError`."""
    files = {f"{FOLDER}/{path}": source for path, source in files_under(directory)}
    digests = {path: digest_of(source) for path, source in files.items()}
    given, inputs = _inputs(schema_of(model, "inputs"))
    outputs = _outputs(schema_of(model, "outputs"))
    dtypes = {each["name"]: DTYPES[DATATYPES[each["data_type"]]].name for each in outputs}
    fields = {
        "platform": "python_handler",
        "trust": "code",
        "sha256": {"handler.py": hashlib.sha256(HANDLER.encode()).hexdigest(), **digests},
        "input": inputs,
        "output": outputs,
        "parameters": {"handler": {"config": {"given": given, "dtypes": dtypes}}},
    }
    return Pyfunc(fields, files, {"handler.py": HANDLER})


def _inputs(schema: Schema) -> tuple[str, list[dict[str, Any]]]:
    """How the model is given its inputs, and what they are."""
    if any(each.get("type") != "tensor" for each in schema):
        return "columns", columns_of(schema)
    if len(schema) == 1 and not schema[0].get("name"):
        return "array", [tensor_of({"name": "input", **schema[0]})]
    if not all(each.get("name") for each in schema):
        raise ConfigurationError("signature: an input has no name, and there are several")
    return "arrays", [tensor_of(each) for each in schema]


def _outputs(schema: Schema) -> list[dict[str, Any]]:
    if len(schema) == 1:
        schema = [{"name": "prediction", **schema[0]}]
    if any(each.get("type") != "tensor" for each in schema):
        return [{key: value for key, value in each.items() if key != "allow_nan"} for each in columns_of(schema)]
    return [tensor_of(each) for each in schema]
