"""Columns as a model's inputs. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from producers.rows.sources import UNNAMED, Chunk, Columns, CsvText
from schemas.errors import ConfigurationError, InvalidInput, PenstockError
from schemas.images import Images
from schemas.signature import INTEGERS, ImageSpec, Signature, TensorSpec
from schemas.tensors import DTYPES, Array, all_finite, fits, raw_size
from schemas.values import check_values


class Group(NamedTuple):
    """Rows of a chunk, by their places in it, whose inputs have one shape: arrays of shape [rows, ...]."""

    rows: Sequence[int]
    inputs: Mapping[str, Array]

    @property
    def bytes(self) -> int:
        return sum(map(raw_size, self.inputs.values()))

    def halves(self) -> "tuple[Group, Group]":
        middle = len(self.rows) // 2
        first = Group(self.rows[:middle], {name: array[:middle] for name, array in self.inputs.items()})
        return first, Group(self.rows[middle:], {name: array[middle:] for name, array in self.inputs.items()})


class Fitted(NamedTuple):
    """Rows that fit, in groups of one shape, and the errors of the others."""

    groups: Sequence[Group]
    errors: Mapping[int, PenstockError]


def fit(signature: Signature, chunk: Chunk) -> Fitted:
    """Raises `InvalidInput` where the columns are not those that the model takes: no row could be run."""
    columns = named(signature, chunk.columns)
    if signature.image is not None and _are_files(columns[signature.image.input]):
        return _images(signature, signature.image, columns[signature.image.input])
    try:
        arrays = {spec.name: _whole(spec, columns[spec.name]) for spec in signature.inputs}
        return Fitted([Group(range(chunk.rows), arrays)], {})
    except (InvalidInput, ValueError, TypeError, OverflowError):
        return _row_by_row(signature, columns, chunk.rows)


def _are_files(column: Array) -> bool:
    return column.dtype == object and all(isinstance(value, bytes) for value in column)


def _images(signature: Signature, spec: ImageSpec, column: Array) -> Fitted:
    """Each image by itself, as what is uploaded is read."""
    tensor = next(each for each in signature.inputs if each.name == spec.input)
    rows: list[int] = []
    arrays: list[Array] = []
    errors: dict[int, PenstockError] = {}
    for row, data in enumerate(column):
        try:
            arrays.append(Images(spec, _any_size).row(data)[np.newaxis])
            rows.append(row)
        except PenstockError as error:
            errors[row] = error
        except ModuleNotFoundError as error:
            raise ConfigurationError("images need the package pillow: install the extra `rows`") from error
    if not rows:
        return Fitted([], errors)
    inputs = {spec.input: _whole(tensor, np.concatenate(arrays))}
    return Fitted([Group(rows, inputs)], errors)


def _any_size(_: int) -> None:
    """One image at a time is unpacked."""


def _row_by_row(signature: Signature, columns: Columns, rows: int) -> Fitted:
    """Each row by itself: those that do not fit have an error, and the others are with those of their shape."""
    errors: dict[int, PenstockError] = {}
    alike: dict[tuple[tuple[int, ...], ...], list[tuple[int, Mapping[str, Array]]]] = {}
    for row in range(rows):
        try:
            arrays = {spec.name: _one(spec, columns[spec.name][row : row + 1]) for spec in signature.inputs}
        except InvalidInput as error:
            errors[row] = error
            continue
        alike.setdefault(tuple(array.shape for array in arrays.values()), []).append((row, arrays))
    groups = [
        Group(
            [row for row, _ in group],
            {spec.name: np.concatenate([arrays[spec.name] for _, arrays in group]) for spec in signature.inputs},
        )
        for group in alike.values()
    ]
    return Fitted(groups, errors)


def _one(spec: TensorSpec, column: Array) -> Array:
    """Raises `InvalidInput`."""
    try:
        return _whole(spec, column)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{spec.name} is no {spec.datatype}", param=spec.name) from error


def named(signature: Signature, columns: Columns) -> Columns:
    """The columns by the names of the inputs. Raises `InvalidInput`."""
    inputs = signature.inputs
    if set(columns) == {UNNAMED} and len(inputs) == 1:
        return {inputs[0].name: columns[UNNAMED]}
    if signature.features and not {spec.name for spec in inputs} <= columns.keys():
        missing = [name for name in signature.features if name not in columns]
        if missing:
            raise InvalidInput(f"there is no column {missing[0]!r}; there are {_listed(columns)}", param=missing[0])
        spec = inputs[0]
        table = np.stack([_number(columns[name], name) for name in signature.features], axis=1)
        return {spec.name: table.reshape((len(table), *spec.row_shape))}
    missing = [spec.name for spec in inputs if spec.name not in columns]
    if missing:
        raise InvalidInput(f"there is no column {missing[0]!r}; there are {_listed(columns)}", param=missing[0])
    return {spec.name: columns[spec.name] for spec in inputs}


def _number(column: Array, name: str) -> Array:
    """A feature's values; what is none is NaN, which fails its row."""
    if column.dtype.kind in "biuf" and column.ndim == 1:
        return column.astype(np.float64)
    if column.ndim != 1:
        raise InvalidInput(f"column {name!r} has several values a row", param=name)
    return np.array([_as_number(value) for value in column])


def _as_number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type] # what it cannot take is no number
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _whole(spec: TensorSpec, column: Array) -> Array:
    """All rows at once. Raises where one does not fit; which one, nobody knows."""
    if spec.datatype == "BYTES":
        array = np.array([_as_bytes(value) for value in column], dtype=object)
    else:
        array = _cast(spec, column)
    if array.ndim == 1 and spec.row_shape == (1,):
        array = array.reshape(-1, 1)
    if not fits(spec.shape, (-1, *array.shape[1:])):
        shape = list(array.shape[1:])
        wanted = list(spec.row_shape)
        raise InvalidInput(f"{spec.name} has rows of shape {shape}; the model takes {wanted}", param=spec.name)
    return check_values(spec, array, spec.name)


def _cast(spec: TensorSpec, column: Array) -> Array:
    dtype = DTYPES[spec.datatype]
    values = np.array([_parsed(value) for value in column]) if column.dtype == object else column
    if values.dtype.kind not in "biuf":
        raise InvalidInput(f"{spec.name} is not a number", param=spec.name)
    if spec.datatype in INTEGERS:
        low, high = INTEGERS[spec.datatype]
        if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise InvalidInput(f"{spec.name} is not a whole number", param=spec.name)
        if len(values) and (values.min() < low or values.max() > high):
            raise InvalidInput(f"{spec.name} is not within {low} to {high}", param=spec.name)
    array = values.astype(dtype)
    if dtype.kind == "f" and not spec.allow_nan and not all_finite(array):
        raise InvalidInput(f"{spec.name} is not a finite number", param=spec.name)
    return array


def _parsed(value: object) -> object:
    """A cell of a CSV file as the number that it stands for. Raises `ValueError`."""
    if not isinstance(value, CsvText):
        return value
    try:
        return int(value)
    except ValueError:
        return float(value)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise InvalidInput("neither text nor bytes")


def _listed(columns: Columns) -> str:
    return ", ".join(repr(name) for name in list(columns)[:20]) or "none"
