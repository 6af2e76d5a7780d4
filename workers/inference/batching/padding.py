"""Making rows of different sizes alike, and cutting what comes of them back to each one's own size. Pure."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from schemas.errors import OutputInvalid
from schemas.signature import TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.batching.ragged_rows import RaggedRows, Rows, join


class PaddedInput(NamedTuple):
    """`value` fills up the `axes`, which vary. `mask`, if the model has one, is 1 where there was something."""

    axes: tuple[int, ...]
    value: Any = 0
    mask: TensorSpec | None = None


class FollowingOutput(NamedTuple):
    """An output whose `axes` have, in this order, the sizes of the padded axes of `input`."""

    input: str
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Padding:
    """By name. `lengths`, ascending, are the sizes that padded axes are brought to; empty: just the largest one's."""

    inputs: Mapping[str, PaddedInput] = field(default_factory=dict)
    outputs: Mapping[str, FollowingOutput] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()

    def stack(self, requests: Sequence[Mapping[str, Rows]]) -> dict[str, Array]:
        """The rows of all requests, an array an input, and the masks. Always copies: inputs may be views of records."""
        stacked: dict[str, Array] = {}
        for name in requests[0]:
            arrays = [inputs[name] for inputs in requests]
            padded = self.inputs.get(name)
            if padded is None:
                stacked[name] = _stack_alike(arrays)
                continue
            target = self._target(arrays, padded.axes)
            stacked[name] = _stack_padded(arrays, target, padded.value)
            if padded.mask is not None:
                stacked[padded.mask.name] = _stack_mask(arrays, target, padded)
        return stacked

    def stacked_bytes(self, name: str, rows: Rows) -> int:
        """What the rows of one request take once they are stacked, if only with each other."""
        padded = self.inputs.get(name)
        if padded is None or not self.lengths:
            return rows.nbytes
        return math.prod((len(rows), *self._target([rows], padded.axes), rows.dtype.itemsize))

    def cut(
        self, outputs: Mapping[str, Array], requests: Sequence[Mapping[str, Rows]], stacked: Mapping[str, Array]
    ) -> list[dict[str, Array]]:
        """Each request's own part of every output, as views.

        Raises `OutputInvalid` if an output that follows an input does not have its size.
        """
        for name, output in self.outputs.items():
            _check_size(name, output, outputs[name], stacked[output.input], self.inputs[output.input].axes)
        parts: list[dict[str, Array]] = []
        start = 0
        for inputs in requests:
            end = start + len(next(iter(inputs.values())))
            parts.append({name: self._cut_one(name, array[start:end], inputs) for name, array in outputs.items()})
            start = end
        return parts

    def _target(self, arrays: Sequence[Rows], axes: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a row that every array's rows fit into."""
        shape = list(arrays[0].shape)
        for axis in axes:
            shape[axis] = round_up(max([array.shape[axis] for array in arrays]), self.lengths)
        return tuple(shape[1:])

    def _cut_one(self, name: str, rows: Array, inputs: Mapping[str, Rows]) -> Array:
        output = self.outputs.get(name)
        if output is None:
            return rows
        where = [slice(None)] * rows.ndim
        for axis, input_axis in zip(output.axes, self.inputs[output.input].axes, strict=True):
            where[axis] = slice(inputs[output.input].shape[input_axis])
        return rows[tuple(where)]


def round_up(number: int, steps: Sequence[int]) -> int:
    """The smallest of the ascending `steps` that is no smaller; the number itself where there is none."""
    place = bisect_left(steps, number)
    return steps[place] if place < len(steps) else number


def pad_rows(inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """The inputs with their last row repeated until there are `rows`: a row like others cannot upset the model."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
        for name, array in inputs.items()
    }


def _are_ragged(arrays: Sequence[Rows]) -> TypeGuard[Sequence[RaggedRows]]:
    return isinstance(arrays[0], RaggedRows)  # of one input all are or none


def _are_arrays(arrays: Sequence[Rows]) -> TypeGuard[Sequence[Array]]:
    return isinstance(arrays[0], np.ndarray)


def _stack_alike(arrays: Sequence[Rows]) -> Array:
    if _are_arrays(arrays):
        return np.concatenate(arrays)
    whole = join([rows for rows in arrays if isinstance(rows, RaggedRows)])
    return _stack_padded([whole], whole.shape[1:], 0)


def _stack_padded(arrays: Sequence[Rows], target: tuple[int, ...], value: Any) -> Array:
    if _are_arrays(arrays) and all(array.shape[1:] == target for array in arrays):
        return np.concatenate(arrays)
    filled = np.full((sum(map(len, arrays)), *target), value, dtype=arrays[0].dtype)
    if _are_ragged(arrays):
        join(arrays).write_to(filled)
        return filled
    start = 0
    for array in arrays:
        end = start + len(array)
        filled[(slice(start, end), *map(slice, array.shape[1:]))] = array
        start = end
    return filled


def _stack_mask(arrays: Sequence[Rows], target: tuple[int, ...], padded: PaddedInput) -> Array:
    assert padded.mask is not None  # noqa: S101 - the caller's condition
    sizes = tuple(target[axis - 1] for axis in padded.axes)
    mask = np.zeros((sum(map(len, arrays)), *sizes), dtype=DTYPES[padded.mask.datatype])
    start = 0
    for array in arrays:
        end = start + len(array)
        mask[(slice(start, end), *(slice(array.shape[axis]) for axis in padded.axes))] = 1
        start = end
    return mask


def _check_size(name: str, output: FollowingOutput, array: Array, stacked: Array, input_axes: tuple[int, ...]) -> None:
    for axis, input_axis in zip(output.axes, input_axes, strict=True):
        if array.ndim <= axis or array.shape[axis] != stacked.shape[input_axis]:
            raise OutputInvalid(
                f"output {name!r} has shape {list(array.shape)}, and is to follow input {output.input!r}, which was "
                f"run with {list(stacked.shape)}"
            )
