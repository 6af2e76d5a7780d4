"""An input, whatever it is, as the body of a request."""

import io
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from schemas.errors import InvalidInput
from schemas.tensors import Array, datatype_of, to_raw

JSON_LENGTH: Final = "Inference-Header-Content-Length"
_PNG, _JPEG = b"\x89PNG", b"\xff\xd8\xff"


class Body(NamedTuple):
    content: bytes
    headers: Mapping[str, str]


class Unnamed(NamedTuple):
    """An array for a model's only input, whose name is to be asked for."""

    array: Array


def as_body(inputs: Any) -> Body | Unnamed:
    """`inputs` is a list of rows, an object of one of the forms of docs/http-api.md, an image (PIL's, or the bytes of a
    PNG or JPEG), an array of numpy or torch, or arrays by the names of inputs, of shape [rows, ...].

    Raises `InvalidInput` for what is none of these.
    """
    array = _array(inputs)
    if array is not None:
        return Unnamed(array)
    if isinstance(inputs, bytes | bytearray | memoryview):
        return _image(bytes(inputs))
    if callable(getattr(inputs, "save", None)) and hasattr(inputs, "mode"):
        file = io.BytesIO()
        inputs.save(file, "PNG")
        return Body(file.getvalue(), {"Content-Type": "image/png"})
    if isinstance(inputs, Mapping) and (arrays := _arrays(inputs)) is not None:
        return tensors(arrays)
    if isinstance(inputs, Mapping):
        return _json(inputs)
    if isinstance(inputs, list | tuple):
        return _json({"instances": inputs})
    raise InvalidInput(
        f"a {type(inputs).__name__} is no input: give rows, arrays, an image, or an object", param="inputs"
    )


def tensors(arrays: Mapping[str, Array]) -> Body:
    """A request of the Open Inference Protocol, all of it raw, that wants its outputs raw."""
    described, raw = [], []
    for name, array in arrays.items():
        try:
            datatype = datatype_of(array)
        except KeyError as error:
            raise InvalidInput(f"{name}: no tensor holds {array.dtype}", param=name) from error
        raw.append(to_raw(array))
        size = {"binary_data_size": len(raw[-1])}
        described.append({"name": name, "datatype": datatype, "shape": array.shape, "parameters": size})
    head = msgspec.json.encode({"inputs": described, "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}
    return Body(b"".join([head, *raw]), headers)


def _arrays(inputs: Mapping[Any, Any]) -> dict[str, Array] | None:
    """Where all are arrays."""
    found = {str(name): _array(value) for name, value in inputs.items()}
    arrays = {name: array for name, array in found.items() if array is not None}
    return arrays if arrays and len(arrays) == len(found) else None


def _array(value: Any) -> Array | None:
    if isinstance(value, np.ndarray):
        return value
    if callable(getattr(value, "detach", None)):  # a tensor of torch, wherever it lies
        return np.asarray(value.detach().cpu().numpy())
    return None


def _image(data: bytes) -> Body:
    if data.startswith(_PNG):
        return Body(data, {"Content-Type": "image/png"})
    if data.startswith(_JPEG):
        return Body(data, {"Content-Type": "image/jpeg"})
    raise InvalidInput("these bytes are neither a PNG nor a JPEG", param="inputs")


def _json(document: Any) -> Body:
    try:
        return Body(msgspec.json.encode(document, enc_hook=_plain), {"Content-Type": "application/json"})
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the input cannot be written as JSON: {error}", param="inputs") from error


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy among plain values."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")
