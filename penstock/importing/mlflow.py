"""From a model that MLflow saved, a folder with a file MLmodel, to a model's folder. MLflow itself is not needed.

Source of the fields: MLflow's model format (flavors, model signature).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from penstock.importing.graph import GraphTensor, read_graph
from penstock.importing.mlflow_pyfunc import pyfunc_model
from penstock.importing.mlflow_signature import COLUMN_TYPES, Schema, schema_of, table_of, tensor_of
from penstock.importing.model_folder import ModelFolder, model_name
from schemas.errors import ConfigurationError
from workers.inference.models.pin import digest_of

MLMODEL: Final = "MLmodel"
MAX_BYTES: Final = 4 * 1024 * 1024

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
    nothing is unpickled here. Of any other flavor the whole folder is taken, with a handler that has MLflow run it.
    Raises `ConfigurationError` for what MLflow cannot run as a function, and where the signature does not say enough.
    """
    model = _read(directory / MLMODEL)
    notes: list[str] = []
    called = model_name(name, directory.resolve().name, notes)
    given = model.get("flavors")
    flavors = {key: _mapping(flavor) for key, flavor in given.items()} if isinstance(given, Mapping) else {}
    texts: dict[str, str] = {}
    if "onnx" in flavors:
        graph = _inside(directory, flavors["onnx"].get("data", "model.onnx"))
        fields, files = _onnx(graph, model), dict(_graph_files(graph))
    elif "sklearn" in flavors and flavors["sklearn"].get("serialization_format") in _PICKLES:
        pickled = _inside(directory, flavors["sklearn"].get("pickled_model", "model.pkl"))
        fields, files = _sklearn(flavors, model, pickled), {"model.joblib": pickled}
    elif flavors.get("python_function", {}).get("loader_module"):
        fields, files, texts = pyfunc_model(directory, model)
        notes.append("a worker runs it with mlflow and what requirements.txt lists, which must be installed with it")
    else:
        raise ConfigurationError(
            f"{directory}: flavors {', '.join(flavors) or 'none'}: only onnx, sklearn and python_function are taken. "
            "Save the model with mlflow.onnx, or write a model.yaml for safetensors or a handler by hand"
        )
    notes.extend(_left_behind(directory, model, flavors) if not texts else ())
    whole = {"name": called, "max_batch_size": max_batch_size, **fields}
    return ModelFolder(
        whole,
        directory,
        {f"{version}/{path}": source for path, source in files.items()},
        notes,
        {f"{version}/{path}": text for path, text in texts.items()},
    )


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


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _inside(directory: Path, name: str) -> Path:
    path = directory / name
    if not path.exists() or not path.resolve().is_relative_to(directory.resolve()):
        raise ConfigurationError(f"{directory}: the file {name!r} that MLmodel names is not there")
    return path


def _onnx(graph: Path, model: Mapping[str, Any]) -> dict[str, Any]:
    inputs, outputs = schema_of(model, "inputs"), schema_of(model, "outputs")
    if any(each.get("type") != "tensor" for each in (*inputs, *outputs)):
        raise ConfigurationError("signature: has columns; a graph takes tensors: infer it from arrays")
    if not all(each.get("name") for each in (*inputs, *outputs)):
        # A single array has no name in a signature. The graph knows it.
        read = read_graph(graph)
        inputs, outputs = _named(inputs, read.inputs, "input"), _named(outputs, read.outputs, "output")
    return {
        "platform": "onnxruntime_onnx",
        "input": [tensor_of(each) for each in inputs],
        "output": [tensor_of(each) for each in outputs],
    }


def _named(tensors: Schema, nodes: list[GraphTensor], kind: str) -> Schema:
    names = [node.name for node in nodes]
    unnamed = [tensor for tensor in tensors if not tensor.get("name")]
    if unnamed and (len(tensors) > 1 or len(names) > 1):
        raise ConfigurationError(
            f"signature: an {kind} has no name, and the graph has {', '.join(names)}: infer the signature from a dict "
            "of arrays by these names"
        )
    return [{"name": names[0], **tensor} for tensor in tensors] if unnamed else tensors


def _sklearn(flavors: Mapping[str, Any], model: Mapping[str, Any], source: Path) -> dict[str, Any]:
    method = (flavors.get("python_function") or {}).get("predict_fn") or "predict"
    outputs = schema_of(model, "outputs")
    if len(outputs) != 1:
        raise ConfigurationError(f"signature: has {len(outputs)} outputs, and {method} of an estimator has one")
    output = {"name": "prediction", **outputs[0]}
    column = COLUMN_TYPES.get(str(output.get("type")))
    tensor = {"name": output["name"], "data_type": column, "dims": []} if column else tensor_of(output)
    return {
        "platform": "sklearn_joblib",
        "trust": "code",
        "sha256": {"model.joblib": digest_of(source)},
        **table_of(schema_of(model, "inputs")),
        "output": [tensor],
        "parameters": {"sklearn": {"methods": {output["name"]: method}}},
    }


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
