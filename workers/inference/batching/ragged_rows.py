"""Rows of different lengths, kept so until they are stacked: padded to the longest, they could fill the memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.tensors import Array


class RaggedRows:
    """Rows of numbers behind each other: `values` [sum of lengths], `lengths` [rows].

    Stands for the array [rows, longest] of `dtype` that padding makes of it: `shape` and `nbytes` are that one's.
    """

    __slots__ = ("_starts", "dtype", "lengths", "shape", "values")

    def __init__(self, values: Array, lengths: Array, dtype: Any = np.int64) -> None:
        self.values = values
        self.lengths = lengths
        self.dtype = np.dtype(dtype)
        self._starts: Array | None = None  # of each row in `values`, and the end; asked for by slices only
        self.shape: tuple[int, int] = (len(lengths), max(1, int(lengths.max(initial=0))))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> "RaggedRows":
        """Some of the rows, copied: what is left of the others is not kept alive."""
        if self._starts is None:
            self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        start, stop, _ = rows.indices(len(self))
        values = self.values[self._starts[start] : self._starts[stop]]
        return RaggedRows(values.copy(), self.lengths[start:stop].copy(), self.dtype)

    @property
    def ndim(self) -> int:
        return 2

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.shape[1] * int(self.dtype.itemsize)

    @property
    def held_bytes(self) -> int:
        """What it takes of memory as it is."""
        return int(self.values.nbytes + self.lengths.nbytes)

    def write_to(self, filled: Array) -> None:
        """Write each row to the beginning of its row in `filled`, of shape [rows, the longest or more]."""
        filled[np.arange(filled.shape[1]) < self.lengths[:, np.newaxis]] = self.values


def join(parts: Sequence[RaggedRows]) -> RaggedRows:
    """The rows of all of them, of one dtype."""
    if len(parts) == 1:
        return parts[0]
    values, lengths = np.concatenate([part.values for part in parts]), np.concatenate([part.lengths for part in parts])
    return RaggedRows(values, lengths, parts[0].dtype)


# An input's rows on their way to being stacked.
Rows = Array | RaggedRows
