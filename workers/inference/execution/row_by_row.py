"""A job that is answered row by row: rows that fail alone have errors of their own.

It runs slice by slice, as any job does, and a slice that fails is divided as micro-batches are, with rows in the place
of jobs. However many are bad, all others are answered: nothing bounds its failed runs, but others have the device
between two of them, and a job that is over stops.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from schemas.errors import OutOfMemory, PenstockError
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob, RowAnswers
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.bisection import Steps, isolate
from workers.inference.execution.failures import Failure, Scope, failure_of
from workers.inference.execution.finite import finite_rows
from workers.inference.execution.joining import joined
from workers.inference.execution.naming import Namings
from workers.inference.execution.runner import Runner
from workers.inference.execution.runs import Runs

# Of one row: whatever it met is its own.
_OF_ROW = (Scope.ROW, Scope.PROCESS)


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
        self._room = job.rows  # no more than these had room together
        # What the rows gave so far, in order, and what the others met.
        self._outputs: list[Mapping[str, Array]] = []
        self._errors: dict[int, PenstockError] = {}
        # Of the slice that runs.
        self._slice = range(0)
        self._namings = Namings()
        self._most_run = 0
        self._crowded = False

    def run(self) -> Steps[Mapping[str, Array] | RowAnswers | Failure]:
        """What the rows gave, and what those without an answer met; or a failure that is that of the whole job."""
        sizes = self._runner.piece_sizes([self._job], of_rows=True)
        with self._runs.own_budget():
            while self._slice.stop < self._job.rows:
                self._begin_slice()
                ends = yield from isolate(self._slice, self._attempt, sizes)
                if (failure := self._failed(ends)) is not None:
                    return failure
        self._runner.bad_share.learn(sizes.bad, sizes.good)
        return self._runs.attempt(self._answers, alone=True)

    def _begin_slice(self) -> None:
        """The next rows: as many as may run at once, and no more than were seen to have room where others had none."""
        if self._crowded and self._most_run and not any(map(self._has_no_room, self._slice)):
            self._room = self._most_run
        start = self._slice.stop
        rows = min(self._runner.at_once(self._job.rows, self._inputs), self._room)
        self._slice = range(start, min(start + rows, self._job.rows))
        self._namings = Namings()
        self._most_run, self._crowded = 0, False

    def _has_no_room(self, row: int) -> bool:
        return isinstance(self._errors.get(row), OutOfMemory)

    def _failed(self, ends: Sequence[Failure | None]) -> Failure | None:
        """The failure that is not that of single rows; what those met is theirs."""
        if not any(ends):  # nearly always
            return None
        for row, end in zip(self._slice, ends, strict=True):
            if end is not None:
                if end.scope not in _OF_ROW:
                    return end
                self._errors.setdefault(row, end.error)
        return None

    def _attempt(self, rows: Sequence[int]) -> Steps[Sequence[None] | Failure]:
        """Run these rows, or what is left of them; what became of each is kept."""
        yield from self._runs.turn()
        if (why := self._over()) is not None:
            return Failure(Scope.MODEL, why)
        left = [row for row in rows if row not in self._errors] if self._errors else rows
        if not left:
            return _ended(rows)
        self._runs.account.in_pieces |= len(rows) < len(self._slice)
        inputs = {name: _picked(array, left) for name, array in self._inputs.items()}
        outputs = self._runs.run([self._index], inputs, self._parameters, alone=len(left) == 1)
        if not isinstance(outputs, Failure):
            self._most_run = max(self._most_run, len(left))
            self._outputs.append(outputs)
            return _ended(rows)
        if outputs.bad_rows is not None:
            return (yield from self._without_named(rows, left, outputs, outputs.bad_rows))
        self._crowded |= outputs.no_room and len(left) > 1
        return self._of_rows(rows, left, outputs)

    def _of_rows(self, rows: Sequence[int], left: Sequence[int], failure: Failure) -> Sequence[None] | Failure:
        """What the failure of the rows that were `left` is for all of the `rows`."""
        if failure.scope is Scope.MOMENT and self._last and not self._runs.budget_is_spent:
            failure = failure._replace(scope=Scope.ROW if len(left) == 1 else Scope.MICRO_BATCH)
        if len(left) == 1 < len(rows) and failure.scope in _OF_ROW:  # the others have errors of their own
            self._errors[left[0]] = failure.error
            return _ended(rows)
        return failure

    def _without_named(
        self, rows: Sequence[int], ran: Sequence[int], failure: Failure, bad_rows: BadRows
    ) -> Steps[Sequence[None] | Failure]:
        """The same rows, but for those that the model has named. The others run again, unless their outputs came."""
        if not self._last and (later := _tried_later(bad_rows)) is not None:
            return later
        ends = self._namings.ends(ran, bad_rows)
        if not ends:
            return failure
        self._errors.update(ends)
        if bad_rows.outputs is None:
            return (yield from self._attempt(rows))
        self._most_run = max(self._most_run, len(ran))
        self._outputs.append(bad_rows.outputs)
        return _ended(rows)

    def _answers(self) -> Mapping[str, Array] | RowAnswers:
        """Raises `OutputInvalid` where what several runs gave does not fit together."""
        if not self._outputs:
            return RowAnswers({}, dict(sorted(self._errors.items())))
        outputs = joined(self._outputs)
        if self._runner.rules.padding.outputs:
            (outputs,) = self._runner.rules.padding.cut(outputs, [self._job.request.inputs], self._inputs)
        answered = self._job.rows - len(self._errors)
        self._runs.account.real_cost += answered * self._job.row_cost
        errors = dict(sorted(self._errors.items()))
        answers = finite_rows(self._runner.signature, self._job, RowAnswers(outputs, errors))
        return answers if answers.errors else answers.outputs


def _tried_later(bad_rows: BadRows) -> Failure | None:
    """Where a row is named for what may pass, as a reason to try all rows again."""
    failures = [failure_of(error, alone=True) for error in bad_rows.errors.values()]
    return next((each for each in failures if each.scope in (Scope.MOMENT, Scope.MODEL)), None)


def _ended(rows: Sequence[int]) -> Sequence[None]:
    """No failure of any of them that is still to be told."""
    return [None] * len(rows)


def _picked(array: Array, rows: Sequence[int]) -> Array:
    """These rows, which ascend; a view where they stand together."""
    start, end = rows[0], rows[-1] + 1
    return array[start:end] if end - start == len(rows) else array[np.asarray(rows)]
