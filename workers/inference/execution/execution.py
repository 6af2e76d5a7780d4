"""Running a micro-batch so that a bad row hurts only itself. Blocking; steps are made in the inference thread.

A micro-batch usually takes one run of the model. It takes several where it fails and is divided, see `bisection`, where
the model names its bad rows and the others run again, and where a job has more rows than may run at once. Between two
runs it pauses, unless they are very short: the device may be given to others, and jobs that are over by then cost
nothing more.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from schemas.errors import PenstockError, TransientFailure
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob, RowAnswers, RunResult
from workers.inference.execution.account import Account
from workers.inference.execution.bisection import Steps, isolate
from workers.inference.execution.failed_jobs import has_no_room, tell_failed
from workers.inference.execution.failures import Failure, Scope
from workers.inference.execution.finite import refuse_non_finite
from workers.inference.execution.joining import joined
from workers.inference.execution.naming import Namings, outputs_of
from workers.inference.execution.row_by_row import RowByRow
from workers.inference.execution.runner import Runner
from workers.inference.execution.runs import Runs


class _FellApart(Exception):
    """Jobs have failed together that are not to be divided together."""


class Execution:
    """One micro-batch under way. `stacked` are the jobs' rows, where they have been stacked already.

    `or_apart`: jobs that fail together are not divided. Then it is over with nothing known of any: it `fell_apart`.
    `tries`: so often a job is tried again that has failed by what may pass.

    Of one thread at a time.
    """

    def __init__(
        self,
        runner: Runner,
        jobs: Sequence[PendingJob],
        stacked: Mapping[str, Array] | None = None,
        *,
        or_apart: bool = False,
        tries: int = 0,
    ) -> None:
        self.fell_apart = False
        self.results: list[RunResult] = []  # of each job, in order; when all is done
        self._runner = runner
        self._jobs = jobs
        self._stacked = stacked
        self._or_apart = or_apart
        self._tries = tries
        self._taken_out: dict[int, PenstockError] = {}
        self._by_row: dict[int, RunResult | Failure] = {}
        self._runs = Runs(runner)
        self._namings = Namings()
        self._steps = self._run()

    @property
    def account(self) -> Account:
        return self._runs.account

    def step(self) -> bool:
        """Make the next run of the model, or the next few if they are short. Returns whether that was all.

        Raises `DeviceFailed`, and then nothing is known of any job.
        """
        try:
            next(self._steps)
        except StopIteration as done:
            self.results = done.value
            return True
        return False

    def take_out(self, index: int, error: PenstockError) -> None:
        """Run the job no more; between two steps."""
        self._taken_out[index] = error

    def _run(self) -> Steps[list[RunResult]]:
        sizes = self._runner.piece_sizes(self._jobs)
        blocks = self._blocks()
        together = [index for index in range(len(self._jobs)) if index not in blocks]
        try:
            ends = dict(zip(together, (yield from isolate(together, self._attempt, sizes)), strict=True))
        except _FellApart:
            self.fell_apart = True
            return []
        for index in blocks:
            self._by_row[index] = yield from self._row_by_row(index)
        ends |= self._by_row
        results: list[RunResult] = [_result(ends[index]) for index in range(len(self._jobs))]
        for index, error in self._taken_out.items():
            results[index] = error
        # Those that were named, or over by then, say nothing of those that nobody names.
        self._runner.bad_share.learn(sizes.bad, sum(not isinstance(result, PenstockError) for result in results))
        for jobs, run in self._runs.no_room:
            if not any(has_no_room(results[index]) for index in jobs):
                self._runs.account.too_large.append(run)
        tell_failed(self._runner, self._jobs, results, self._runs.raised)
        return results

    def _attempt(self, jobs: Sequence[int]) -> Steps[Sequence[RunResult | Failure] | Failure]:
        if self._all_over(jobs):
            return self._ends(jobs, {})
        self._runs.account.in_pieces |= len(jobs) < len(self._jobs)
        yield from self._runs.turn()
        wanted = [index for index in jobs if index not in self._taken_out and index not in self._by_row]
        if not wanted:
            return self._ends(jobs, {})
        if self._runs.budget_is_spent:
            return Failure(Scope.MOMENT, TransientFailure("the micro-batch failed, and dividing it took too long"))
        answer = yield from self._run_together(wanted)
        if isinstance(answer, Failure):
            may_be_rows = self._may_be_rows(wanted, answer)
            # That there is no room is nobody's fault, and halves have it.
            if self._or_apart and (may_be_rows or not answer.no_room):
                raise _FellApart
            if not may_be_rows:
                return answer
            answer = [(yield from self._by_its_rows(wanted[0], answer))]
        return self._ends(jobs, dict(zip(wanted, answer, strict=True)))

    def _blocks(self) -> frozenset[int]:
        """The jobs that are run row by row from the start: one without company; or all of them, where their version has
        so many bad rows that they would hardly ever run well with others."""
        if self._or_apart or (len(self._jobs) > 1 and self._runner.bad_share.negligible):
            return frozenset()
        return frozenset(index for index, job in enumerate(self._jobs) if job.job.row_errors)

    def _by_its_rows(self, index: int, failure: Failure) -> Steps[RunResult | Failure]:
        """What becomes of a job that failed when it ran by itself."""
        if self._jobs[index].rows == 1:
            return RowAnswers({}, {0: failure.error})
        return (yield from self._row_by_row(index))

    def _row_by_row(self, index: int) -> Steps[RunResult | Failure]:
        job = self._jobs[index]
        inputs = self._runs.attempt(lambda: self._inputs([index]), alone=True)
        if isinstance(inputs, Failure):
            return inputs
        last = job.job.attempt >= self._tries
        over = partial(self._taken_out.get, index)
        return (yield from RowByRow(self._runner, self._runs, job, index, inputs, over, last=last).run())

    def _all_over(self, jobs: Sequence[int]) -> bool:
        return self._taken_out.keys() >= set(jobs)

    def _ends(self, jobs: Sequence[int], given: Mapping[int, RunResult | Failure]) -> list[RunResult | Failure]:
        known = {**self._taken_out, **self._by_row, **given}
        return [known[index] for index in jobs]

    def _without_named(
        self, jobs: Sequence[int], inputs: Mapping[str, Array], failure: Failure
    ) -> Steps[Sequence[RunResult | Failure] | Failure]:
        """The same jobs, those with rows that the model has named taken out. The others run again, unless their outputs
        have come."""
        named = failure.bad_rows
        if named is None:
            return failure
        owners = [index for index in jobs for _ in range(self._jobs[index].rows)]
        ends = self._namings.ends(owners, named)
        blocks = [index for index in ends if self._jobs[index].job.row_errors]
        if not ends or (blocks and self._or_apart):
            return failure
        self._taken_out.update({index: end for index, end in ends.items() if index not in blocks})
        for index in blocks:
            self._by_row[index] = yield from self._row_by_row(index)
        if named.outputs is None:
            return (yield from self._attempt(jobs))
        rest, outputs = [index for index in jobs if index not in ends], named.outputs
        of_rest = outputs_of(rest, owners, named, outputs)
        parts = self._runs.attempt(lambda: self._parts(rest, inputs, of_rest), alone=False)
        return parts if isinstance(parts, Failure) else self._ends(jobs, dict(zip(rest, parts, strict=True)))

    def _run_together(self, jobs: Sequence[int]) -> Steps[Sequence[RunResult | Failure] | Failure]:
        alone = len(jobs) == 1
        inputs = self._runs.attempt(lambda: self._inputs(jobs), alone=alone)
        if isinstance(inputs, Failure):
            return inputs
        outputs = yield from self._run_rows(jobs, inputs)
        if isinstance(outputs, Failure):
            return (yield from self._without_named(jobs, inputs, outputs))
        return self._runs.attempt(lambda: self._parts(jobs, inputs, outputs), alone=alone)

    def _inputs(self, jobs: Sequence[int]) -> Mapping[str, Array]:
        stacked, self._stacked = self._stacked, None
        if stacked is not None and len(jobs) == len(self._jobs):
            return stacked
        started = time.perf_counter()
        stacked = self._runner.stack([self._jobs[index] for index in jobs])
        self._runs.account.collate_s += time.perf_counter() - started
        return stacked

    def _run_rows(self, jobs: Sequence[int], inputs: Mapping[str, Array]) -> "Steps[dict[str, Array] | Failure]":
        """One run; or several, where a single job has more rows than may run at once, or than memory has room for."""
        rows = len(next(iter(inputs.values())))
        at_once = self._runner.at_once(rows, inputs)
        parameters = self._runner.rules.agreed(self._jobs[jobs[0]].request.parameters)
        parts: list[dict[str, Array]] = []
        start = runs = 0
        while start < rows:
            if runs:
                yield from self._runs.turn()
                if self._all_over(jobs):
                    return Failure(Scope.ROW, self._taken_out[jobs[0]])
            runs += 1
            end = min(start + at_once, rows)
            part = self._run_slice(jobs, inputs, start, end, parameters)
            if not isinstance(part, Failure):
                parts.append(part)
                start = end
            elif part.no_room and len(jobs) == 1 and end - start > 1:
                at_once = (end - start) // 2
            else:
                return part
        return self._runs.attempt(lambda: joined(parts), alone=len(jobs) == 1)

    def _run_slice(
        self, jobs: Sequence[int], inputs: Mapping[str, Array], start: int, end: int, parameters: Mapping[str, Any]
    ) -> dict[str, Array] | Failure:
        whole = end - start == len(next(iter(inputs.values())))
        part = inputs if whole else {name: array[start:end] for name, array in inputs.items()}
        return self._runs.run(jobs, part, parameters, alone=len(jobs) == 1, start=start, whole=whole)

    def _parts(
        self, jobs: Sequence[int], inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Sequence[RunResult]:
        """Each job's own rows of the outputs."""
        of = [self._jobs[index] for index in jobs]
        parts = self._runner.rules.padding.cut(outputs, [job.request.inputs for job in of], inputs)
        checked = refuse_non_finite(self._runner.signature, of, outputs, parts)
        self._runs.account.real_cost += sum([job.rows * job.row_cost for job in of])
        return checked

    def _may_be_rows(self, jobs: Sequence[int], failure: Failure) -> bool:
        """Whether one job failed, of which each row is answered by itself, and that may be the fault of some."""
        job = self._jobs[jobs[0]].job
        if len(jobs) > 1 or jobs[0] in self._taken_out or not job.row_errors:
            return False
        return failure.scope is Scope.ROW or (failure.scope is Scope.MOMENT and job.attempt >= self._tries)


def _result(end: RunResult | Failure) -> RunResult:
    return end.error if isinstance(end, Failure) else end
