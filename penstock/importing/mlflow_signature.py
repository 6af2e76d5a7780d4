"""The signature in a file MLmodel, as the tensors of a model.yaml. Source: MLflow's model signature."""

import json
from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import ConfigurationError

Schema = list[Mapping[str, Any]]

# numpy's names, as tensors of a signature have them.
_TENSOR_TYPES: Final = {
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
COLUMN_TYPES: Final = {
    "boolean": "TYPE_BOOL",
    "integer": "TYPE_INT32",
    "long": "TYPE_INT64",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}


def schema_of(model: Mapping[str, Any], kind: str) -> Schema:
    """`kind` is inputs or outputs. Raises `ConfigurationError` where the signature does not say what they are."""
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


def tensor_of(tensor: Mapping[str, Any]) -> dict[str, Any]:
    name, spec = tensor.get("name"), tensor.get("tensor-spec")
    if not name or not isinstance(spec, Mapping):
        raise ConfigurationError("signature: a tensor has no name or no tensor-spec, and there are several")
    datatype, shape = _TENSOR_TYPES.get(str(spec.get("dtype"))), spec.get("shape")
    if datatype is None:
        raise ConfigurationError(f"signature: {name}: dtype {spec.get('dtype')} is not taken")
    if not isinstance(shape, list) or shape[:1] != [-1]:
        raise ConfigurationError(f"signature: {name}: shape {shape}: the first is not -1, the rows")
    return {"name": name, "data_type": datatype, "dims": shape[1:]}


def table_of(inputs: Schema) -> dict[str, Any]:
    """What an estimator takes: an array; or the columns of a data frame as the features of one table, where all are
    numbers, and as an input each, where not."""
    if len(inputs) == 1 and inputs[0].get("type") == "tensor":
        return {"input": [tensor_of({"name": "features", **inputs[0]})]}
    _check_types(inputs)
    names, types = [each.get("name") for each in inputs], [str(each.get("type")) for each in inputs]
    if "string" in types:
        return {"input": columns_of(inputs)}
    single = all(kind == "float" for kind in types)
    table = {**column_of("features", "float" if single else "double"), "dims": [len(inputs)]}
    return {"input": [table], **({"features": names} if all(names) else {})}


def columns_of(columns: Schema) -> list[dict[str, Any]]:
    """A tensor for each column of a data frame, by its name."""
    _check_types(columns)
    if not all(each.get("name") for each in columns):
        raise ConfigurationError("signature: a column has no name, and columns of several types need names")
    return [column_of(str(each["name"]), str(each["type"])) for each in columns]


def _check_types(columns: Schema) -> None:
    others = [f"{each.get('name')} ({each.get('type')})" for each in columns if each.get("type") not in COLUMN_TYPES]
    if others:
        raise ConfigurationError(f"signature: columns that are neither numbers nor texts: {', '.join(others)}")


def column_of(name: str, kind: str) -> dict[str, Any]:
    """Missing numbers are NaN in a data frame, and imputers wait for them."""
    column = {"name": name, "data_type": COLUMN_TYPES[kind], "dims": []}
    return {**column, "allow_nan": True} if kind in ("float", "double") else column
