"""Inputs that come row by row, `instances` and `features`, as the model's tensors."""

import re
from typing import Any, Final

import msgspec
import numpy as np

from schemas.document import InputDocument
from schemas.errors import InvalidInput
from schemas.images import Images
from schemas.signature import INTEGERS, Signature, TensorSpec
from schemas.tensors import (
    DTYPES,
    Array,
    Base64,
    check_shape,
    decode_values,
    element_count,
    finite,
    from_json,
    to_array,
)

Tensors = list[tuple[TensorSpec, Array]]
Row = dict[str, msgspec.Raw]

_rows_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_object_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_base64_decoder: Final = msgspec.json.Decoder(list[Base64])
_BASE64: Final = "b64"
# As decoders and checks say where an element of a table is.
_PLACE: Final = re.compile(r" - at `features\.data\[(\d+)\]\[(\d+)\]`| at \[(\d+), (\d+)\]")


class Rows:
    """Reads the rows of one input. `members` counts the members of the objects that were found in them.

    `images` reads images, where the signature takes any.
    """

    def __init__(self, signature: Signature, images: Images | None) -> None:
        self._signature = signature
        self._images = images
        self.members = 0

    def read(self, document: InputDocument) -> Tensors:
        if isinstance(document.instances, msgspec.Raw):
            return self.instances(document.instances)
        if isinstance(document.features, msgspec.Raw):
            return self.features(document.features)
        raise InvalidInput("there are neither instances nor features", param="input")

    def instances(self, raw: msgspec.Raw) -> Tensors:
        """One value, or one object of named values, a row. Raises `InvalidInput`."""
        rows = _rows(raw, "instances")
        inputs = self._signature.inputs
        if len(inputs) == 1 and self._is_value(rows[0]):
            return [(inputs[0], self._values(inputs[0], rows, raw, "instances"))]
        objects = [self._object(row, f"instances[{index}]") for index, row in enumerate(rows)]
        for index, row in enumerate(objects):
            self._check_inputs(row, f"instances[{index}]")
        return [(spec, self._column(spec, [row[spec.name] for row in objects], "instances")) for spec in inputs]

    def features(self, raw: msgspec.Raw) -> Tensors:
        """One object of named features a row, or a single one. Raises `InvalidInput`."""
        one_row = _opens(raw, b"{")
        rows = [raw] if one_row else _rows(raw, "features")
        prefixes = ["features"] if one_row else [f"features[{index}]" for index in range(len(rows))]
        objects = [self._object(row, prefix) for row, prefix in zip(rows, prefixes, strict=True)]
        names = self._signature.features or tuple(spec.name for spec in self._signature.inputs)
        for features, prefix in zip(objects, prefixes, strict=True):
            _check_names(features, names, prefix)
        if self._signature.features:
            spec = self._signature.inputs[0]
            return [(spec, _table(spec, objects, names, prefixes))]
        return [
            (spec, self._column(spec, [row[spec.name] for row in objects], "features"))
            for spec in self._signature.inputs
        ]

    def _is_value(self, row: msgspec.Raw) -> bool:
        """Whether the row is the value of the only input itself, and no object of named values."""
        if not _opens(row, b"{"):
            return True
        return self._signature.input(_BASE64) is None and list(_object(row, "instances[0]")) == [_BASE64]

    def _object(self, raw: msgspec.Raw, field: str) -> Row:
        found = _object(raw, field)
        self.members += len(found)
        return found

    def _check_inputs(self, row: Row, field: str) -> None:
        for name in row:
            if self._signature.input(name) is None:
                known = ", ".join(sorted(spec.name for spec in self._signature.inputs))
                raise InvalidInput(
                    f"{field}: the model has no input {name!r}; it takes {known}", param=f"{field}.{name}"
                )
        for spec in self._signature.inputs:
            if spec.name not in row:
                raise InvalidInput(f"{field}: input {spec.name!r} is missing", param=f"{field}.{spec.name}")

    def _column(self, spec: TensorSpec, values: list[msgspec.Raw], field: str) -> Array:
        """One input from one JSON value a row. A scalar stands for a row of one element."""
        joined = msgspec.Raw(b"[" + b",".join(map(bytes, values)) + b"]")
        scalar = spec.row_shape == (1,) and not _opens(values[0], b"[")
        as_given = msgspec.structs.replace(spec, shape=(-1,)) if scalar else spec
        array = self._values(as_given, values, joined, f"{field}.{spec.name}")
        return array.reshape(-1, 1) if scalar else array

    def _values(self, spec: TensorSpec, rows: list[msgspec.Raw], raw: msgspec.Raw, field: str) -> Array:
        if self._images is not None and spec.name == self._images.input and _opens(rows[0], b"{"):
            return self._of_images(spec, self._images, raw, field)
        return _nested(spec, raw, len(rows), field)

    def _of_images(self, spec: TensorSpec, images: Images, raw: msgspec.Raw, field: str) -> Array:
        try:
            files = _base64_decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{_at(error, field)} (an image)", param=field) from error
        self.members += len(files)
        return image_rows(spec, images, [file.b64 for file in files], field)


def image_rows(spec: TensorSpec, images: Images, files: list[bytes], field: str) -> Array:
    """Images as an array of the input's type, a row each. Raises `InvalidInput` and its kin."""
    images.check_size(len(files), np.dtype(DTYPES[spec.datatype]).itemsize)
    rows = np.stack([images.row(file) for file in files])
    check_shape(spec, rows.shape, field)
    if spec.datatype in INTEGERS:
        low, high = INTEGERS[spec.datatype]
        if rows.min() < low or rows.max() > high:  # model.yaml is held against it; an older catalog record may not be
            raise InvalidInput(f"the model's image settings make what {spec.datatype} does not hold", param=field)
        rows = np.rint(rows)
    return finite(spec, rows.astype(DTYPES[spec.datatype]), field)


def _table(spec: TensorSpec, objects: list[Row], names: tuple[str, ...], prefixes: list[str]) -> Array:
    """Named features as the columns of a model's only input."""
    text = b"[" + b",".join(b"[" + b",".join(bytes(row[n]) for n in names) + b"]" for row in objects) + b"]"
    flat = msgspec.structs.replace(spec, shape=(-1, len(names)))
    array = _explained(flat, text, (len(objects), len(names)), names, prefixes)
    return array.reshape((len(objects), *spec.row_shape))


def _explained(
    spec: TensorSpec, table: bytes, shape: tuple[int, ...], names: tuple[str, ...], prefixes: list[str]
) -> Array:
    """The table as an array; an error in it is told by the feature's name, not by its row and column."""
    try:
        return from_json(spec, table, shape, "features")
    except InvalidInput as error:
        place = _PLACE.search(error.message)
        if place is None:
            raise
        row, column = (int(index) for index in place.groups() if index is not None)
        field = f"{prefixes[row]}.{names[column]}"
        told = error.message.replace(place[0], "").replace("features.data", field)
        raise InvalidInput(f"{field} is not a valid {spec.datatype}: {told}", param=field) from error


def _check_names(features: Row, names: tuple[str, ...], prefix: str) -> None:
    missing = [name for name in names if name not in features]
    if missing:
        raise InvalidInput(f"{prefix}: feature {missing[0]!r} is missing", param=f"{prefix}.{missing[0]}")
    unknown = [name for name in features if name not in names]
    if unknown:
        raise InvalidInput(f"{prefix}: the model has no feature {unknown[0]!r}", param=f"{prefix}.{unknown[0]}")


def _nested(spec: TensorSpec, raw: msgspec.Raw, rows: int, field: str) -> Array:
    """An array from JSON nested by row; its shape is read off the values, then held against the signature."""
    values = decode_values(spec, len(spec.shape), raw, field)
    shape = (
        rows,
        *(_size_at(values, axis) if want == -1 else want for axis, want in enumerate(spec.row_shape, 1)),
    )
    element_count(shape, field)
    array = to_array(spec.datatype, values, field)
    check_shape(spec, array.shape, field)
    return finite(spec, array, field)


def _size_at(values: Any, axis: int) -> int:
    for _ in range(axis):
        values = values[0] if values else []
    return len(values)


def _rows(raw: msgspec.Raw, field: str) -> list[msgspec.Raw]:
    try:
        rows = _rows_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{field} must be a list with one value a row", param=field) from error
    if not rows:
        raise InvalidInput(f"{field} has no rows; at least one is needed", param=field)
    return rows


def _object(raw: msgspec.Raw, field: str) -> Row:
    try:
        return _object_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{field} must be an object of named values", param=field) from error


def _opens(raw: msgspec.Raw, with_byte: bytes) -> bool:
    return bytes(memoryview(raw)[:1]) == with_byte


def _at(error: Exception, field: str) -> str:
    return str(error).replace("`$", f"`{field}", 1)
