"""From a model that MLflow saved, a folder with a file MLmodel, to a model's folder. MLflow itself is not needed.

Source of the fields: MLflow's model format (flavors, model signature).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from penstock.importing.graph import GraphTensor, read_graph
from penstock.importing.model_folder import ModelFolder, model_name
from schemas.errors import ConfigurationError

MLMODEL: Final = "MLmodel"
MAX_BYTES: Final = 4 * 1024 * 1024

# numpy's names, as tensors of a signature have them.
_TENSORS: Final = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "str": "TYPE_STRING",
    "object": "TYPE_STRING",
}
# The types of columns of a data frame.
_COLUMNS: Final = {
    "boolean": "TYPE_BOOL",
    "integer": "TYPE_INT32",
    "long": "TYPE_INT64",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}
# What MLflow writes beside a model, which no graph reads.
_BESIDE: Final = frozenset(
    [
        MLMODEL,
        "conda.yaml",
        "input_example.json",
        "python_env.yaml",
        "registered_model_meta",
        "requirements.txt",
        "serving_input_example.json",
    ]
)

# Formats that joblib reads. MLflow said nothing about the format before it knew more than one.
_PICKLES: Final = {None, "pickle", "cloudpickle"}


def read_mlflow(directory: Path, name: str | None, version: str, max_batch_size: int) -> ModelFolder:
    """Read the model that MLflow saved in `directory`; `name` is what to call it, where not by the folder's name.

    Graphs are taken as they are. An estimator of scikit-learn is a pickle, so the model says `trust: code` and pins it;
    nothing is unpickled here. Raises `ConfigurationError` for other flavors, and where the signature does not say
    enough.
    """
    model = _read(directory / MLMODEL)
    notes: list[str] = []
    called = model_name(name, directory.resolve().name, notes)
    flavors = model.get("flavors")
    flavors = flavors if isinstance(flavors, Mapping) else {}
    if "onnx" in flavors:
        graph = _inside(directory, flavors["onnx"].get("data", "model.onnx"))
        fields, files = _onnx(graph, model), dict(_graph_files(graph))
    elif "sklearn" in flavors:
        pickled = _inside(directory, flavors["sklearn"].get("pickled_model", "model.pkl"))
        fields, files = _sklearn(flavors, model, pickled), {"model.joblib": pickled}
    else:
        raise ConfigurationError(
            f"{directory}: flavors {', '.join(flavors) or 'none'}: only onnx and sklearn are taken. Save the model "
            "with mlflow.onnx, or write a model.yaml for safetensors or a handler by hand"
        )
    notes.extend(_left_behind(directory, model, flavors))
    whole = {"name": called, "max_batch_size": max_batch_size, **fields}
    return ModelFolder(whole, directory, {f"{version}/{name}": source for name, source in files.items()}, notes)


def _graph_files(graph: Path) -> Iterator[tuple[str, Path]]:
    """The graph, and what stands beside it: large weights are in files of their own, which the graph names."""
    yield "model.onnx", graph
    for beside in sorted(graph.parent.iterdir()):
        if beside.is_file() and beside != graph and beside.name not in _BESIDE:
            yield beside.name, beside


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            model = yaml.safe_load(file.read(MAX_BYTES))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    if not isinstance(model, dict):
        raise ConfigurationError(f"{path}: is no MLmodel")
    return model


def _inside(directory: Path, name: str) -> Path:
    path = directory / name
    if not path.exists() or not path.resolve().is_relative_to(directory.resolve()):
        raise ConfigurationError(f"{directory}: the file {name!r} that MLmodel names is not there")
    return path


def _onnx(graph: Path, model: Mapping[str, Any]) -> dict[str, Any]:
    inputs, outputs = _schema(model, "inputs"), _schema(model, "outputs")
    if any(each.get("type") != "tensor" for each in (*inputs, *outputs)):
        raise ConfigurationError("signature: has columns; a graph takes tensors: infer it from arrays")
    if not all(each.get("name") for each in (*inputs, *outputs)):
        # A single array has no name in a signature. The graph knows it.
        read = read_graph(graph)
        inputs, outputs = _named(inputs, read.inputs, "input"), _named(outputs, read.outputs, "output")
    return {
        "platform": "onnxruntime_onnx",
        "input": [_tensor(each) for each in inputs],
        "output": [_tensor(each) for each in outputs],
    }


def _named(tensors: list[Mapping[str, Any]], nodes: list[GraphTensor], kind: str) -> list[Mapping[str, Any]]:
    names = [node.name for node in nodes]
    unnamed = [tensor for tensor in tensors if not tensor.get("name")]
    if unnamed and (len(tensors) > 1 or len(names) > 1):
        raise ConfigurationError(
            f"signature: an {kind} has no name, and the graph has {', '.join(names)}: infer the signature from a dict "
            "of arrays by these names"
        )
    return [{"name": names[0], **tensor} for tensor in tensors] if unnamed else tensors


def _sklearn(flavors: Mapping[str, Any], model: Mapping[str, Any], source: Path) -> dict[str, Any]:
    kind = flavors["sklearn"].get("serialization_format")
    if kind not in _PICKLES:
        raise ConfigurationError(
            f"{source}: is in the format {kind}, which no worker reads: `penstock export sklearn` turns the estimator "
            "into ONNX, and mlflow.sklearn.save_model(..., serialization_format='cloudpickle') into a pickle"
        )
    method = (flavors.get("python_function") or {}).get("predict_fn") or "predict"
    outputs = _schema(model, "outputs")
    if len(outputs) != 1:
        raise ConfigurationError(f"signature: has {len(outputs)} outputs, and {method} of an estimator has one")
    output = {"name": "prediction", **outputs[0]}
    column = _COLUMNS.get(str(output.get("type")))
    tensor = {"name": output["name"], "data_type": column, "dims": []} if column else _tensor(output)
    return {
        "platform": "sklearn_joblib",
        "trust": "code",
        "sha256": {"model.joblib": hashlib.sha256(source.read_bytes()).hexdigest()},
        **_table(_schema(model, "inputs")),
        "output": [tensor],
        "parameters": {"sklearn": {"methods": {output["name"]: method}}},
    }


def _table(inputs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What an estimator takes: an array; or the columns of a data frame as the features of one table, where all are
    numbers, and as an input each, where not."""
    if len(inputs) == 1 and inputs[0].get("type") == "tensor":
        return {"input": [_tensor({"name": "features", **inputs[0]})]}
    names, types = [each.get("name") for each in inputs], [str(each.get("type")) for each in inputs]
    others = [f"{name} ({kind})" for name, kind in zip(names, types, strict=True) if kind not in _COLUMNS]
    if others:
        raise ConfigurationError(f"signature: columns that are neither numbers nor texts: {', '.join(others)}")
    if "string" in types:
        if not all(names):
            raise ConfigurationError("signature: a column has no name, and columns of several types need names")
        return {"input": [_column(str(name), kind) for name, kind in zip(names, types, strict=True)]}
    single = all(kind == "float" for kind in types)
    table = {**_column("features", "float" if single else "double"), "dims": [len(inputs)]}
    return {"input": [table], **({"features": names} if all(names) else {})}


def _column(name: str, kind: str) -> dict[str, Any]:
    """Missing numbers are NaN in a data frame, and imputers wait for them."""
    column = {"name": name, "data_type": _COLUMNS[kind], "dims": []}
    return {**column, "allow_nan": True} if kind in ("float", "double") else column


def _schema(model: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    signature = model.get("signature")
    text = signature.get(kind) if isinstance(signature, Mapping) else None
    try:
        schema = json.loads(text) if text else None
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"signature.{kind}: cannot be read: {error}") from error
    if not isinstance(schema, list) or not schema or not all(isinstance(each, dict) for each in schema):
        raise ConfigurationError(
            f"signature.{kind}: is missing: save the model with signature=infer_signature(inputs, outputs)"
        )
    return schema


def _tensor(tensor: Mapping[str, Any]) -> dict[str, Any]:
    spec = tensor.get("tensor-spec", {})
    datatype, shape = _TENSORS.get(str(spec.get("dtype"))), spec.get("shape")
    if datatype is None:
        raise ConfigurationError(f"signature: {tensor['name']}: dtype {spec.get('dtype')} is not taken")
    if not isinstance(shape, list) or shape[:1] != [-1]:
        raise ConfigurationError(f"signature: {tensor['name']}: shape {shape}: the first is not -1, the rows")
    return {"name": tensor["name"], "data_type": datatype, "dims": shape[1:]}


def _left_behind(directory: Path, model: Mapping[str, Any], flavors: Mapping[str, Any]) -> Iterator[str]:
    for name in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        if (directory / name).is_file():
            yield f"{name}: left behind: a worker runs on the packages that are installed with it"
            break
    saved_with = flavors.get("sklearn", {}).get("sklearn_version")
    if saved_with:
        yield f"scikit-learn {saved_with} pickled it, and should unpickle it"
    if (model.get("signature") or {}).get("params"):
        yield "signature.params: left behind"
    others = [flavor for flavor in flavors if flavor not in ("onnx", "sklearn", "python_function")]
    if others:
        yield f"flavors {', '.join(others)}: left behind"
    for name in ("code", "metadata"):
        if flavors.get("python_function", {}).get(name) or model.get(name):
            yield f"{name}: left behind"
