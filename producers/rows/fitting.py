"""Columns as a model's inputs. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from producers.rows.sources import UNNAMED, Chunk, Columns
from schemas.errors import InvalidInput, PenstockError
from schemas.signature import INTEGERS, Signature, TensorSpec
from schemas.tensors import DTYPES, Array, all_finite, fits
from schemas.values import check_values


class Fitted(NamedTuple):
    """`inputs` hold the rows of the chunk that fit, in order; `errors` are those of the others, by row of the chunk."""

    inputs: Mapping[str, Array]
    errors: Mapping[int, PenstockError]


def fit(signature: Signature, chunk: Chunk) -> Fitted:
    """Raises `InvalidInput` where the columns are not those that the model takes: no row could be run."""
    columns = named(signature, chunk.columns)
    errors: dict[int, PenstockError] = {}
    arrays: dict[str, Array] = {}
    for spec in signature.inputs:
        try:
            arrays[spec.name] = _whole(spec, columns[spec.name])
        except (InvalidInput, ValueError, TypeError, OverflowError):
            arrays[spec.name] = _row_by_row(spec, columns[spec.name], errors)
    if errors:
        good = [row for row in range(chunk.rows) if row not in errors]
        arrays = {name: _taken(array, good) for name, array in arrays.items()} if good else {}
    return Fitted(arrays, errors)


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
    values = np.array(column.tolist()) if column.dtype == object else column
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


def _row_by_row(spec: TensorSpec, column: Array, errors: dict[int, PenstockError]) -> Array:
    """Each row by itself: those that do not fit have an error, and a place that is never sent."""
    rows: list[Array | None] = []
    for row in range(len(column)):
        try:
            rows.append(_whole(spec, column[row : row + 1]))
        except InvalidInput as error:
            rows.append(None)
            errors.setdefault(row, error)
        except (ValueError, TypeError, OverflowError):
            rows.append(None)
            errors.setdefault(row, InvalidInput(f"{spec.name} is no {spec.datatype}", param=spec.name))
    known = next((array for array in rows if array is not None), None)
    if known is None:
        return np.zeros((len(column), 0))
    for row, array in enumerate(rows):
        if array is not None and array.shape != known.shape:
            rows[row] = None
            errors.setdefault(row, InvalidInput(f"{spec.name} has another shape than rows before it", param=spec.name))
    return np.concatenate([known if array is None else array for array in rows])


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise InvalidInput("neither text nor bytes")


def _taken(array: Array, rows: Sequence[int]) -> Array:
    taken: Array = array[np.asarray(rows)]
    return taken


def _listed(columns: Columns) -> str:
    return ", ".join(repr(name) for name in list(columns)[:20]) or "none"
