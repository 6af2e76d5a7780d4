"""A model that says itself which rows of a micro-batch are bad: nobody has to look for them. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.tensors import Array


class BadRows(Exception):
    """Raised by a model: some rows cannot be answered, and here is each one's error, by its index in the micro-batch.

    Name all of them at once. Their jobs fail, each with the error of its first bad row, as if the row had run alone
    and raised it; the other jobs run again without them. `outputs`, where the others have been answered already, are
    theirs: by name, of shape [rows that are not named, ...].
    """

    def __init__(self, errors: Mapping[int, Exception], outputs: Mapping[str, Array] | None = None) -> None:
        super().__init__("some rows are bad")
        self.errors = dict(errors)
        self.outputs = outputs

    @property
    def first_error(self) -> Exception:
        return self.errors[min(self.errors)]

    def of_slice(self, start: int, rows: int, *, whole: bool) -> "BadRows":
        """Among all the rows that are run, of which a slice of `rows` from `start` named these; `whole`: it was all.
        What was added to bring the slice to a size is left out; the outputs are of use where they are of all rows."""
        errors = {start + row: error for row, error in self.errors.items() if row < rows}
        kept = None if self.outputs is None or not whole else rows - len(errors)
        return BadRows(errors, {name: array[:kept] for name, array in (self.outputs or {}).items()} if kept else None)


def errors_in(columns: Mapping[str, object]) -> dict[int, Exception]:
    """The errors that stand in the place of a row's output, in any of the `columns`, by row."""
    return {
        row: element
        for column in columns.values()
        if isinstance(column, list | tuple) or (isinstance(column, np.ndarray) and column.dtype == object)
        for row, element in enumerate(column)
        if isinstance(element, Exception)
    }


def without(column: object, rows: Mapping[int, Exception]) -> object:
    """The column's other rows."""
    if isinstance(column, np.ndarray) and column.dtype != object:
        return column[[row not in rows for row in range(len(column))]]
    if isinstance(column, np.ndarray | list | tuple):
        return [element for row, element in enumerate(column) if row not in rows]
    return column


def mistake_in(errors: Mapping[Any, object], rows: int) -> str | None:
    """What is wrong with a naming of bad rows among `rows`; None where it can be believed."""
    for row, error in errors.items():
        if isinstance(row, bool) or not isinstance(row, int | np.integer):
            return f"an index of type {type(row).__name__}"
        if not 0 <= row < rows:
            return f"row {row} of {rows}"
        if not isinstance(error, Exception):
            return f"{type(error).__name__} as the error of row {row}"
    return None if errors else "no row"
