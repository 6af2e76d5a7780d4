"""One input in whatever form it is, as the body of a request that the model takes. Pure.

Pictures go as they are, and JSON where it is a body already. All else becomes one by the model's signature.
"""

import csv
import io
import json
from math import isinf
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from schemas.document import FORMS
from schemas.errors import InvalidInput
from schemas.images import picture_type
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES, Array

NPY, NPZ = b"\x93NUMPY", b"PK\x03\x04"
SHOWN: Final = 30  # characters of a number


class Body(NamedTuple):
    """`json_length`: of the JSON before raw tensors, where there are some."""

    content: bytes
    content_type: str = "application/json"
    json_length: int | None = None


def body_of(data: bytes, signature: Signature, *, suffix: str = "") -> Body:
    """`suffix` is the file's (`.csv`), where there is a file. Raises `InvalidInput`."""
    if (content_type := picture_type(data)) is not None:
        return Body(data, content_type)
    if data.startswith((NPY, NPZ)):
        return _of_arrays(data, signature)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("is neither a PNG or JPEG picture, nor .npy or .npz, nor text in UTF-8") from None
    if takes_text(signature) and suffix not in {".json", ".csv"} and not _is_body(text):
        return _json({"instances": [text.removesuffix("\n")]})
    if suffix != ".csv" and text.lstrip()[:1] in tuple('[{"'):
        return _of_json(text, signature)
    return _of_rows(text, signature)


def takes_text(signature: Signature) -> bool:
    """Whether a row is a text and nothing else."""
    return [each.datatype for each in signature.inputs] == ["BYTES"] and len(signature.inputs[0].row_shape) == 0


def _json(document: Any) -> Body:
    try:
        return Body(msgspec.json.encode(document))
    except (UnicodeEncodeError, RecursionError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"cannot be sent as JSON: {' '.join(str(error).split())}") from None


def _parsed(text: str) -> Any:
    """The JSON value. NaN is null, which the API takes for a missing number; for infinity it has no word, and none of
    another number is put in its place. Raises `ValueError` and `RecursionError`."""
    return json.loads(text, parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise InvalidInput(f"JSON has no word for {text[:SHOWN]}; an array of .npy has")
    return number


def _is_body(text: str) -> bool:
    """Whether it is JSON that says itself in which form its rows are."""
    try:
        document = _parsed(text) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return False
    return document is not None and any(form in document for form in FORMS)


def _of_json(text: str, signature: Signature) -> Body:
    try:
        document = _parsed(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise InvalidInput("holds more than one JSON value; `penstock submit` takes a job a line") from None
        raise InvalidInput(f"is not valid JSON: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"is not valid JSON: {error}") from None
    if isinstance(document, dict):
        if any(form in document for form in FORMS):
            return Body(text.encode())  # as it is: what is wrong with it the gateway tells
        if isinstance(document.get("input"), dict) and signature.input("input") is None:
            return _json(document["input"])  # the envelope of POST /v1/jobs, or a line of `penstock submit`
        return _json({"features": document} if signature.features else {"instances": [document]})
    if isinstance(document, list) and _is_many(document, signature):
        return _json({"features": document} if signature.features and _is_named(document) else {"instances": document})
    return _json({"instances": [document]})


def _is_named(rows: list[Any]) -> bool:
    return all(isinstance(row, dict) for row in rows)


def _is_many(value: list[Any], signature: Signature) -> bool:
    """Whether a list is of rows, not one row: it is as deep as the tensor with its batch dimension."""
    if len(signature.inputs) > 1 or _is_named(value):
        return True
    return _depth(value) > len(signature.inputs[0].row_shape)


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth


def _of_rows(text: str, signature: Signature) -> Body:
    """Lines of values between commas; the first may hold their names."""
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if line]
    except csv.Error as error:
        raise InvalidInput(f"is no CSV: {error}") from None
    if not lines:
        raise InvalidInput("is empty")
    names = signature.features or tuple(each.name for each in signature.inputs)
    header = [name.strip() for name in lines[0]]
    if set(header) <= set(names):
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise InvalidInput(f"names twice: {', '.join(twice)}")
        columns = [signature.input(name) or signature.inputs[0] for name in header]
        rows = [
            dict(zip(header, _values(line, columns, number), strict=True)) for number, line in enumerate(lines[1:], 2)
        ]
        if not rows:
            raise InvalidInput("has a line of names and no row")
        return _json({"features" if signature.features else "instances": rows})
    columns = [signature.inputs[0]] * len(lines[0])
    values = [_values(line, columns, number) for number, line in enumerate(lines, 1)]
    shape = signature.inputs[0].row_shape
    return _json({"instances": values if len(shape) == 1 else [_shaped(row, signature) for row in values]})


def _values(line: list[str], columns: list[TensorSpec], number: int) -> list[Any]:
    """`columns`: the input that each value is for."""
    if len(line) != len(columns):
        raise InvalidInput(f"line {number} has {len(line)} values, and the first line {len(columns)}")
    return [_value(text.strip(), column) for text, column in zip(line, columns, strict=True)]


def _value(text: str, column: TensorSpec) -> Any:
    """Texts stay texts, also `7`. Else a number where it is one, JSON's words for true and false, and null where
    nothing stands: a missing number."""
    if column.datatype == "BYTES":
        return text
    if not text:
        return None
    try:
        value = _parsed(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (int, float, bool)) else text


def _shaped(row: list[Any], signature: Signature) -> Any:
    """One value where a row is a scalar, else nested lists of the row's shape."""
    shape = signature.inputs[0].row_shape
    if len(signature.inputs) > 1:
        raise InvalidInput(f"begin with a line of names: {', '.join(each.name for each in signature.inputs)}")
    if not shape:
        return row[0] if len(row) == 1 else row
    try:
        return np.asarray(row, dtype=object).reshape(shape).tolist()
    except ValueError:
        raise InvalidInput(f"a row has {len(row)} values; the model takes {list(shape)}") from None


def _of_arrays(data: bytes, signature: Signature) -> Body:
    """Raw tensors of the Open Inference Protocol, from .npy, or from .npz with an array for each input."""
    try:
        with io.BytesIO(data) as file:
            loaded = np.load(file, allow_pickle=False)
            arrays: dict[str, Any] = (
                {name: loaded[name] for name in loaded.files} if data.startswith(NPZ) else {"": loaded}
            )
    except Exception as error:  # what its readers of headers and of zip files raise has no other ancestor
        raise InvalidInput(f"cannot be read as numpy's: {' '.join(str(error).split())}") from None
    if "" in arrays:
        if len(signature.inputs) > 1:
            names = ", ".join(each.name for each in signature.inputs)
            raise InvalidInput(f"the model has several inputs: give an .npz with {names}")
        arrays = {signature.inputs[0].name: arrays[""]}
    tensors = [_tensor(name, array, signature) for name, array in arrays.items()]
    head = msgspec.json.encode(
        {
            "inputs": [
                {
                    "name": spec.name,
                    "shape": list(array.shape),
                    "datatype": spec.datatype,
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for spec, array in tensors
            ]
        }
    )
    return Body(head + b"".join(array.tobytes() for _, array in tensors), "application/octet-stream", len(head))


def _tensor(name: str, array: Any, signature: Signature) -> tuple[TensorSpec, Array]:
    spec = signature.input(name)
    if spec is None:
        raise InvalidInput(f"{name} is no input: {', '.join(each.name for each in signature.inputs)}")
    if spec.datatype == "BYTES":
        raise InvalidInput(f"{name} takes texts: give them as JSON")
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise InvalidInput(f"{name} holds no numbers")
    if array.ndim == len(spec.row_shape):
        array = array[np.newaxis]  # one row
    with np.errstate(all="ignore"):
        converted = array.astype(DTYPES[spec.datatype])
    if len(others := array[_changed(converted, array)]):
        raise InvalidInput(f"{name} has {others[0]}, and the model takes {spec.datatype}")
    return spec, np.ascontiguousarray(converted)


def _changed(converted: Array, given: Array) -> Array:
    """Where another number has come out. Floats may be rounded."""
    changed: Array = np.isinf(converted) & np.isfinite(given) if converted.dtype.kind == "f" else converted != given
    return changed
