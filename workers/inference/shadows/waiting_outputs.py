"""Outputs that wait, to be written or to be compared: what they take of the memory is what they are counted with."""

import sys
from collections.abc import Mapping

from schemas.tensors import Array


def own_rows(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The same, without the micro-batch that they were cut from: a view of a few rows keeps all of them."""
    return {name: array if array.base is None else array.copy() for name, array in outputs.items()}


def outputs_bytes(outputs: Mapping[str, Array]) -> int:
    """What they take, with the texts in them."""
    return sum(map(_array_bytes, outputs.values()))


def _array_bytes(array: Array) -> int:
    if array.dtype == object:
        return array.nbytes + sum(map(sys.getsizeof, array.flat))
    return array.nbytes
