"""A job that is answered row by row, once a run of it has failed: rows that fail alone have errors of their own.

Slice by slice it is divided as micro-batches are, with rows in the place of jobs. However many are bad, all others are
answered: nothing bounds its failed runs, but others have the device between two of them, and a job that is over stops.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.errors import PenstockError
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob, RowAnswers
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.bisection import Steps, isolate
from workers.inference.execution.failures import Failure, Scope
from workers.inference.execution.finite import finite_rows
from workers.inference.execution.joining import joined
from workers.inference.execution.naming import Namings
from workers.inference.execution.runner import Runner
from workers.inference.execution.runs import Runs


class _Answered(NamedTuple):
    """A row that ran, at this place of the outputs of its run."""

    outputs: Mapping[str, Array]
    place: int


_RowEnd = _Answered | PenstockError


class RowByRow:
    """The `job`, whose rows are stacked as `inputs`, and which has this `index` in its micro-batch. `over` says why it
    runs no more, if so. `last`: it is not tried again, so that what may pass is held against a row as well."""

    def __init__(
        self,
        runner: Runner,
        runs: Runs,
        job: PendingJob,
        index: int,
        inputs: Mapping[str, Array],
        over: Callable[[], PenstockError | None],
        *,
        last: bool = False,
    ) -> None:
        self._runner = runner
        self._runs = runs
        self._job = job
        self._index = index
        self._inputs = inputs
        self._over = over
        self._last = last
        self._parameters: Mapping[str, Any] = runner.rules.agreed(job.request.parameters)
        self._namings = Namings()
        self._named: dict[int, PenstockError] = {}

    def run(self) -> Steps[RowAnswers | Failure]:
        """What the rows gave; or a failure that is that of the whole job."""
        sizes = self._runner.piece_sizes([self._job], of_rows=True)
        self._runs.account.in_pieces = True
        rows = self._job.rows
        ends: list[_RowEnd] = []
        while (start := len(ends)) < rows:
            self._namings = Namings()
            at_once = self._runner.at_once(rows, self._inputs)
            for end in (yield from isolate(range(start, min(start + at_once, rows)), self._attempt, sizes)):
                if not isinstance(end, Failure):
                    ends.append(end)
                elif end.scope in (Scope.ROW, Scope.PROCESS):
                    ends.append(end.error)
                else:
                    return end
        self._runner.bad_share.learn(sizes.bad, sizes.good)
        return self._runs.attempt(lambda: self._answers(ends), alone=True)

    def _attempt(self, rows: Sequence[int]) -> Steps[Sequence[_RowEnd] | Failure]:
        yield from self._runs.turn()
        if (why := self._over()) is not None:
            return Failure(Scope.MODEL, why)
        left = [row for row in rows if row not in self._named]
        if not left:
            return self._ends(rows, left, {})
        inputs = {name: _picked(array, left) for name, array in self._inputs.items()}
        outputs = self._runs.run([self._index], inputs, self._parameters, alone=len(left) == 1)
        if not isinstance(outputs, Failure):
            return self._ends(rows, left, outputs)
        if outputs.bad_rows is not None:
            return (yield from self._without_named(rows, left, outputs, outputs.bad_rows))
        if outputs.scope is Scope.MOMENT and self._last and not self._runs.budget_is_spent:
            return outputs._replace(scope=Scope.ROW if len(left) == 1 else Scope.MICRO_BATCH)
        return outputs

    def _without_named(
        self, rows: Sequence[int], ran: Sequence[int], failure: Failure, bad_rows: BadRows
    ) -> Steps[Sequence[_RowEnd] | Failure]:
        """The same rows, but for those that the model has named. The others run again, unless their outputs came."""
        ends = self._namings.ends(ran, bad_rows)
        if not ends:
            return failure
        self._named.update(ends)
        if bad_rows.outputs is None:
            return (yield from self._attempt(rows))
        return self._ends(rows, [row for row in ran if row not in ends], bad_rows.outputs)

    def _ends(self, rows: Sequence[int], ran: Sequence[int], outputs: Mapping[str, Array]) -> Sequence[_RowEnd]:
        places = {row: place for place, row in enumerate(ran)}
        return [_Answered(outputs, places[row]) if row in places else self._named[row] for row in rows]

    def _answers(self, ends: Sequence[_RowEnd]) -> RowAnswers:
        """Raises `OutputInvalid` where what several runs gave does not fit together."""
        errors = {row: end for row, end in enumerate(ends) if isinstance(end, PenstockError)}
        pieces: list[tuple[Mapping[str, Array], list[int]]] = []
        for end in ends:
            if isinstance(end, _Answered):
                if not pieces or pieces[-1][0] is not end.outputs:
                    pieces.append((end.outputs, []))
                pieces[-1][1].append(end.place)
        if not pieces:
            return RowAnswers({}, errors)
        parts = [{name: _picked(array, places) for name, array in outputs.items()} for outputs, places in pieces]
        (outputs,) = self._runner.rules.padding.cut(joined(parts), [self._job.request.inputs], self._inputs)
        self._runs.account.real_cost += self._job.rows * self._job.row_cost
        return finite_rows(self._runner.signature, self._job, RowAnswers(outputs, errors))


def _picked(array: Array, rows: Sequence[int]) -> Array:
    """These rows; a view where they stand together."""
    start, end = rows[0], rows[-1] + 1
    return array[start:end] if end - start == len(rows) else array[np.asarray(rows)]
