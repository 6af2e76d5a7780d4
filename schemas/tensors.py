"""Tensor values: JSON and raw bytes to numpy arrays and back, by datatype.

JSON goes through typed decoders, so a wrong element is refused with its path before an array exists, and
raw bytes become arrays without a copy. Element counts are compared with the shape before anything is allocated.
Source: Open Inference Protocol v2, "Tensor Data" and the binary tensor data extension.
"""

import math
import re
import struct
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidInput, PayloadTooLarge
from schemas.malformed import why_not_json
from schemas.signature import Datatype, TensorSpec

Array = NDArray[Any]

# A tensor beyond this many elements is refused whatever the body's size says (shapes are cheap to write down).
MAX_ELEMENTS: Final = 64 * 1024 * 1024

DTYPES: Final[dict[Datatype, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
_OPENING: Final = re.compile(rb"[\[ \t\r\n]*")
_BASE64: Final = re.compile(rb'"b64"')
FLOATS: Final = frozenset({"FP16", "FP32", "FP64"})


class Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes in JSON: `{"b64": "..."}`, as TensorFlow Serving writes them."""

    b64: bytes


def element_count(shape: tuple[int, ...], field: str) -> int:
    """How many elements `shape` holds; refuses negative sizes and more than `MAX_ELEMENTS`."""
    if shape and min(shape) < 0:
        raise InvalidInput(f"{field}.shape has a negative size: {list(shape)}", param=f"{field}.shape")
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise PayloadTooLarge(f"{field} holds {count} elements; the limit is {MAX_ELEMENTS}", param=f"{field}.shape")
    return count


def check_shape(spec: TensorSpec, shape: tuple[int, ...], field: str) -> None:
    """Hold `shape` against the signature: same rank, same fixed sizes, at least one row."""
    if shape[1:] != spec.shape[1:] and not fits(spec.shape, shape):
        raise InvalidInput(
            f"{field} has shape {list(shape)}; the model takes {list(spec.shape)} (-1: any size, first: rows)",
            param=f"{field}.shape",
        )
    if not shape or shape[0] < 1:
        raise InvalidInput(f"{field} has no rows; at least one is needed", param=f"{field}.shape")
    if shape[0] > 1 and 0 in shape:  # rows that take no bytes could be as many as one likes
        raise InvalidInput(f"{field} has {shape[0]} rows without values; one at most is taken", param=f"{field}.shape")


def fits(wanted: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether `shape` has the same rank, and the same sizes where any are wanted."""
    return len(shape) == len(wanted) and all(want in (-1, size) for want, size in zip(wanted, shape, strict=True))


def from_json(spec: TensorSpec, data: bytes | msgspec.Raw, shape: tuple[int, ...], field: str) -> Array:
    """The array in a JSON value, flat or nested by `shape`."""
    depth = _nesting(data)
    if depth not in (1, len(shape)):
        raise InvalidInput(
            f"{field}.data is nested {depth} deep; give it flat, or {len(shape)} deep as its shape",
            param=f"{field}.data",
        )
    count = element_count(shape, field)
    values = decode_values(spec, depth, data, f"{field}.data")
    if depth == 1:
        if len(values) != count:
            raise InvalidInput(
                f"{field}.data has {len(values)} elements; shape {list(shape)} needs {count}",
                param=f"{field}.data",
            )
        return finite(spec, to_array(spec.datatype, values, f"{field}.data").reshape(shape), f"{field}.data")
    array = to_array(spec.datatype, values, f"{field}.data")
    if array.shape != shape:
        raise InvalidInput(
            f"{field}.data is nested as {list(array.shape)}, not as its shape {list(shape)}",
            param=f"{field}.data",
        )
    return finite(spec, array, f"{field}.data")


def from_raw(spec: TensorSpec, data: memoryview, shape: tuple[int, ...], field: str) -> Array:
    """The array in raw little-endian bytes; not copied, but for BYTES, whose elements carry their lengths."""
    count = element_count(shape, field)
    if spec.datatype == "BYTES":
        return _split_strings(data, count, field).reshape(shape)
    dtype = DTYPES[spec.datatype]
    if len(data) != count * dtype.itemsize:
        raise InvalidInput(
            f"{field} has {len(data)} bytes; {spec.datatype} of shape {list(shape)} needs {count * dtype.itemsize}",
            param=field,
        )
    if spec.datatype == "BOOL" and count and np.frombuffer(data, dtype=np.uint8).max() > 1:
        raise InvalidInput(f"{field} holds bytes other than 0 and 1, and is BOOL", param=field)
    return finite(spec, np.frombuffer(data, dtype=dtype).reshape(shape), field)


def to_raw(array: Array) -> bytes:
    """Raw little-endian bytes of `array`, row-major; BYTES elements are each preceded by a 4-byte length."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(raw)) + raw for raw in map(_as_bytes, array.ravel()))
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def raw_size(array: Array) -> int:
    """How many bytes `to_raw` makes of it."""
    return sum(map(len, array.ravel())) + 4 * array.size if array.dtype == object else array.nbytes


def to_array(datatype: Datatype, values: list[Any], field: str) -> Array:
    """An array of the datatype from decoded JSON lists; refuses ragged nesting and integers out of range."""
    try:
        if datatype == "BYTES":
            return _object_array(values)
        with np.errstate(over="raise"):  # it would become infinite
            return np.array(values, dtype=DTYPES[datatype])  # of None, which is a missing value, it makes NaN
    except (OverflowError, FloatingPointError) as error:
        where = _out_of_range(values, datatype)
        raise InvalidInput(f"{field} holds a value out of range for {datatype} at {where}", param=field) from error
    except ValueError as error:
        raise InvalidInput(f"{field} is ragged: its lists differ in length", param=field) from error


def _out_of_range(values: list[Any], datatype: Datatype) -> list[int]:
    """Where the first value is that the type does not hold."""
    dtype = DTYPES[datatype]
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    given = np.array(values, dtype=np.float64 if dtype.kind == "f" else object)
    beyond = (given < limits.min) | (given > limits.max)
    return [int(index) for index in np.argwhere(beyond)[0]] if beyond.any() else []


def finite(spec: TensorSpec, array: Array, field: str) -> Array:
    """`array` itself; NaN and infinity are refused unless the signature allows them."""
    if spec.datatype in FLOATS and not spec.allow_nan and not all_finite(array):
        where = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise InvalidInput(f"{field} is not a finite {spec.datatype} number at {where}", param=field)
    return array


def all_finite(array: Array) -> bool:
    """For a few numbers, looking through bytes takes half the time of `numpy.all`, for many no longer."""
    return 0 not in np.isfinite(array).tobytes()


def datatype_of(array: Array) -> Datatype:
    """The protocol's name for an array's dtype. Raises `KeyError` for one it has no name for."""
    known = _DATATYPES.get(array.dtype.str)  # quick, and nearly always all
    return known or _DATATYPES["O" if array.dtype.kind in "OSU" else array.dtype.newbyteorder("<").str]


_DATATYPES: Final[dict[str, Datatype]] = {
    ("O" if dtype.kind == "O" else dtype.newbyteorder("<").str): name for name, dtype in DTYPES.items()
}


def _nesting(data: bytes | msgspec.Raw) -> int:
    """How many lists deep the JSON value starts."""
    opening = _OPENING.match(data)
    return opening.group().count(b"[") if opening else 0


def decode_values(spec: TensorSpec, depth: int, data: bytes | msgspec.Raw, field: str) -> list[Any]:
    """JSON lists, nested `depth` deep, of what the datatype holds; null is among it where NaN is allowed."""
    try:
        values: list[Any] = _decoder(spec.datatype, depth, spec.allow_nan).decode(data)
    except msgspec.ValidationError as error:
        message = str(error).replace("`$", f"`{field}", 1)
        raise InvalidInput(f"{message} ({spec.datatype})", param=field) from error
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{field} is not valid JSON: {why_not_json(error, bytes(data))}", param=field) from error
    return _with_bytes(values) if spec.datatype == "BYTES" and _BASE64.search(data) else values


def _with_bytes(values: list[Any]) -> list[Any]:
    return [
        _with_bytes(value) if isinstance(value, list) else value.b64 if isinstance(value, Base64) else value
        for value in values
    ]


@lru_cache(maxsize=256)
def _decoder(datatype: Datatype, depth: int, allow_nan: bool) -> msgspec.json.Decoder[Any]:
    kind: Any = {"BOOL": bool, "BYTES": str | Base64}.get(datatype, float if datatype in FLOATS else int)
    if allow_nan and kind is float:
        kind = float | None
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _object_array(values: list[Any]) -> Array:
    """Nested lists of str as an object array; numpy would otherwise guess a fixed-width string type."""
    shape = []
    level: Any = values
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    array = np.array(values, dtype=object)
    if array.shape != tuple(shape):  # numpy keeps the lists of a ragged nesting as elements
        raise ValueError("ragged")
    return array


def _split_strings(data: memoryview, count: int, field: str) -> Array:
    strings: list[bytes] = []
    position = 0
    for _ in range(count):
        end = position + 4
        size = int.from_bytes(data[position:end], "little")
        if end > len(data) or end + size > len(data):
            raise InvalidInput(f"{field} ends within element {len(strings)} of {count}", param=field)
        strings.append(bytes(data[end : end + size]))
        position = end + size
    if position != len(data):
        raise InvalidInput(f"{field} has {len(data) - position} bytes after its last element", param=field)
    array = np.empty(count, dtype=object)
    array[:] = strings
    return array


def _as_bytes(element: object) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()
