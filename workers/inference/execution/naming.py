"""What is believed of a model that names its bad rows: it may be wrong, and nobody is to fail for that again and again.
Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from schemas.errors import PenstockError
from schemas.tensors import Array
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.failures import failure_of

# How often it is believed within a micro-batch: each of a handler's three methods may find some.
NAMINGS: Final = 3


class Namings:
    """The namings of one micro-batch that were believed."""

    def __init__(self) -> None:
        self._believed: list[frozenset[int]] = []

    def ends(self, owners: Sequence[int], bad_rows: BadRows) -> dict[int, PenstockError]:
        """How the jobs end whose rows are named; `owners` are the jobs of all rows that ran. Empty where it is not
        believed: it leaves no other job, or the same rows were named before, when they were others."""
        rows = frozenset(row for row in bad_rows.errors if row < len(owners))
        first = {owners[row]: bad_rows.errors[row] for row in sorted(rows, reverse=True)}
        if len(first) == len(set(owners)) or rows in self._believed or len(self._believed) == NAMINGS:
            return {}
        self._believed.append(rows)
        return {job: failure_of(error, alone=True).error for job, error in first.items()}


def outputs_of(
    jobs: Sequence[int], owners: Sequence[int], bad_rows: BadRows, outputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Of the outputs of all rows but the named ones, those of the `jobs`."""
    wanted = frozenset(jobs)
    kept = [owner in wanted for row, owner in enumerate(owners) if row not in bad_rows.errors]
    return {name: array[kept] for name, array in outputs.items()}
