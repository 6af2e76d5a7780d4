"""Running a micro-batch so that a bad row hurts only itself. Blocking; steps are made in the inference thread.

A micro-batch usually takes one run of the model. It takes several where it fails and is divided, see `bisection`, where
the model names its bad rows and the others run again, and where a job has more rows than may run at once. Between two
runs it pauses, unless they are very short: the device may be given to others, and jobs that are over by then cost
nothing more.
"""

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from runtime.logs import get_logger
from schemas.errors import (
    Canceled,
    DeadlineExceeded,
    JobError,
    OutOfMemory,
    OutputInvalid,
    PenstockError,
    TransientFailure,
)
from schemas.tensors import Array
from workers.inference.batching.padding import pad_rows, round_up
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.execution.account import Account, Run
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.bisection import Steps, isolate
from workers.inference.execution.failures import Failure, Scope, causes, failure_of
from workers.inference.execution.finite import refuse_non_finite
from workers.inference.execution.joining import joined
from workers.inference.execution.naming import Namings, outputs_of
from workers.inference.execution.runner import Runner

log = get_logger(__name__)

# What dividing may cost in failed runs: so many of the longest, or so many seconds. To find one or two culprits costs
# less. Jobs that are undecided by then are tried again later, in other company.
DIVIDING_RUNS: Final = 16
DIVIDING_S: Final = 10.0
# A turn is one run, or several that take no longer together: to give the device away and get it back costs some tenths
# of this.
TURN_S: Final = 0.001

# Of the jobs that failed together so many stand in the log.
TOLD_JOBS: Final = 100

T = TypeVar("T")


class _FellApart(Exception):
    """Jobs have failed together that are not to be divided together."""


class Execution:
    """One micro-batch under way. `stacked` are the jobs' rows, where they have been stacked already.

    `or_apart`: jobs that fail together are not divided. Then it is over with nothing known of any: it `fell_apart`.

    Of one thread at a time.
    """

    def __init__(
        self,
        runner: Runner,
        jobs: Sequence[PendingJob],
        stacked: Mapping[str, Array] | None = None,
        *,
        or_apart: bool = False,
    ) -> None:
        self.account = Account()
        self.fell_apart = False
        self.results: list[RunResult] = []  # of each job, in order; when all is done
        self._runner = runner
        self._jobs = jobs
        self._stacked = stacked
        self._or_apart = or_apart
        self._taken_out: dict[int, PenstockError] = {}
        self._turn_began = math.inf
        self._budget_s = DIVIDING_S
        self._no_room: list[tuple[Sequence[int], Run]] = []
        self._raised: BaseException | None = None
        self._namings = Namings()
        self._steps = self._run()

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
        try:
            ends = yield from isolate(range(len(self._jobs)), self._attempt, sizes)
        except _FellApart:
            self.fell_apart = True
            return []
        results: list[RunResult] = [end.error if isinstance(end, Failure) else end for end in ends]
        for index, error in self._taken_out.items():
            results[index] = error
        # Those that were named, or over by then, say nothing of those that nobody names.
        self._runner.bad_share.learn(sizes.bad, sum(not isinstance(result, PenstockError) for result in results))
        for jobs, run in self._no_room:
            if not any(isinstance(results[index], OutOfMemory) for index in jobs):
                self.account.too_large.append(run)
        self._tell(results)
        return results

    def _attempt(self, jobs: Sequence[int]) -> Steps[Sequence[RunResult] | Failure]:
        if self._all_over(jobs):
            return self._ends(jobs, {})
        self.account.in_pieces |= len(jobs) < len(self._jobs)
        yield from self._turn()
        wanted = [index for index in jobs if index not in self._taken_out]
        if not wanted:
            return self._ends(jobs, {})
        if self.account.failed_s > self._budget_s:
            return Failure(Scope.MOMENT, TransientFailure("the micro-batch failed, and dividing it took too long"))
        answer = yield from self._run_together(wanted)
        if isinstance(answer, Failure):
            if self._or_apart and not answer.no_room:  # which is nobody's fault: halves have room
                raise _FellApart
            return answer
        return self._ends(jobs, dict(zip(wanted, answer, strict=True)))

    def _all_over(self, jobs: Sequence[int]) -> bool:
        return self._taken_out.keys() >= set(jobs)

    def _ends(self, jobs: Sequence[int], given: Mapping[int, RunResult]) -> list[RunResult]:
        return [given[index] if index in given else self._taken_out[index] for index in jobs]

    def _without_named(
        self, jobs: Sequence[int], inputs: Mapping[str, Array], failure: Failure
    ) -> Steps[Sequence[RunResult] | Failure]:
        """The same jobs, those with rows that the model has named taken out. The others run again, unless their outputs
        have come."""
        named = failure.bad_rows
        if named is None:
            return failure
        owners = [index for index in jobs for _ in range(self._jobs[index].rows)]
        ends = self._namings.ends(owners, named)
        if not ends:
            return failure
        self._taken_out.update(ends)
        if named.outputs is None:
            return (yield from self._attempt(jobs))
        rest, outputs = [index for index in jobs if index not in ends], named.outputs
        parts = self._try(lambda: self._parts(rest, inputs, outputs_of(rest, owners, named, outputs)), alone=False)
        return parts if isinstance(parts, Failure) else self._ends(jobs, dict(zip(rest, parts, strict=True)))

    def _turn(self) -> Steps[None]:
        """Before each run others may have the device, unless this turn has just begun."""
        if time.perf_counter() - self._turn_began >= TURN_S:
            yield
            self._turn_began = math.inf
        self._turn_began = min(self._turn_began, time.perf_counter())

    def _run_together(self, jobs: Sequence[int]) -> Steps[Sequence[RunResult] | Failure]:
        alone = len(jobs) == 1
        inputs = self._try(lambda: self._inputs(jobs), alone=alone)
        if isinstance(inputs, Failure):
            return inputs
        outputs = yield from self._run_rows(jobs, inputs)
        if isinstance(outputs, Failure):
            return (yield from self._without_named(jobs, inputs, outputs))
        return self._try(lambda: self._parts(jobs, inputs, outputs), alone=alone)

    def _try(self, work: Callable[[], T], *, alone: bool) -> T | Failure:
        """What `work` gives, or what its exception says.

        A model may call sys.exit, and a panic of Rust code is a BaseException too. In this thread they are no signal to
        anyone, and let through they would end the worker, again and again with each redelivery of the job.
        """
        try:
            return work()
        except BaseException as error:
            raised = error
        failure = failure_of(raised, alone=alone)
        if failure.scope is Scope.DEVICE:
            raise raised
        # What was computed so far would take up the memory that the next run needs.
        for each in (raised, *(raised.errors.values() if isinstance(raised, BadRows) else ())):
            _release_frames(each)
        self._raised = raised.first_error if isinstance(raised, BadRows) else raised
        return failure

    def _inputs(self, jobs: Sequence[int]) -> Mapping[str, Array]:
        stacked, self._stacked = self._stacked, None
        if stacked is not None and len(jobs) == len(self._jobs):
            return stacked
        started = time.perf_counter()
        stacked = self._runner.stack([self._jobs[index] for index in jobs])
        self.account.collate_s += time.perf_counter() - started
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
                yield from self._turn()
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
        return self._try(lambda: joined(parts), alone=len(jobs) == 1)

    def _run_slice(
        self, jobs: Sequence[int], inputs: Mapping[str, Array], start: int, end: int, parameters: Mapping[str, Any]
    ) -> dict[str, Array] | Failure:
        """One run, with rows added where the model takes certain numbers of them only, and taken away again."""
        rules, rows = self._runner.rules, end - start
        run_rows = round_up(rows, rules.batch_sizes)
        whole = rows == len(next(iter(inputs.values())))
        part = inputs if whole else {name: array[start:end] for name, array in inputs.items()}
        cost = rules.cost(rows, rules.size(inputs))
        self._runner.prepare()
        started = time.perf_counter()
        outputs = self._try(lambda: self._run_once(part, run_rows, rows, parameters), alone=len(jobs) == 1)
        run = Run(run_rows, cost, time.perf_counter() - started)
        if not isinstance(outputs, Failure):
            self.account.runs.append(run)
            return outputs
        if outputs.bad_rows is not None:
            bad_rows = outputs.bad_rows.of_slice(start, rows, whole=whole)
            outputs = outputs._replace(bad_rows=bad_rows)
            if bad_rows.outputs is not None:
                self.account.runs.append(run)
                return outputs
        self.account.failed_s += run.seconds
        self._budget_s = max(self._budget_s, DIVIDING_RUNS * run.seconds)
        if outputs.too_large:
            self._no_room.append((jobs, run))
        return outputs

    def _run_once(
        self, inputs: Mapping[str, Array], run_rows: int, rows: int, parameters: Mapping[str, Any]
    ) -> dict[str, Array]:
        outputs = self._runner.model.run(pad_rows(inputs, run_rows) if run_rows > rows else inputs, parameters)
        for spec in self._runner.signature.outputs:
            array = outputs.get(spec.name)
            if array is None:
                raise OutputInvalid(f"the model gave no output {spec.name!r}")
            if len(array) != run_rows:
                raise OutputInvalid(f"output {spec.name!r} has {len(array)} rows for {run_rows} rows of input")
        return {name: array[:rows] for name, array in outputs.items()} if run_rows > rows else outputs

    def _parts(
        self, jobs: Sequence[int], inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Sequence[RunResult]:
        """Each job's own rows of the outputs."""
        of = [self._jobs[index] for index in jobs]
        parts = self._runner.rules.padding.cut(outputs, [job.request.inputs for job in of], inputs)
        checked = refuse_non_finite(self._runner.signature, of, outputs, parts)
        self.account.real_cost += sum([job.rows * job.row_cost for job in of])
        return checked

    def _tell(self, results: Sequence[RunResult]) -> None:
        """One line a micro-batch: a model that fails on everything must not bury the log under tracebacks."""
        failed = [
            self._jobs[index].id
            for index, result in enumerate(results)
            if isinstance(result, JobError) and not isinstance(result, Canceled | DeadlineExceeded)
        ]
        if not failed:
            return
        job = self._jobs[0].job
        own = None if self._raised is None else self._runner.traceback(self._raised)
        log.warning(
            "the model failed",
            model=f"{job.model}/{job.version}",
            jobs=failed[:TOLD_JOBS],
            failed=len(failed),
            of=len(self._jobs),
            **({"exc_info": self._raised} if own is None else {"exception": own}),
        )


def _release_frames(error: BaseException) -> None:
    """Let go of what the frames of the error, and of those that led to it, hold; their lines can still be told."""
    for each in causes(error):
        traceback.clear_frames(each.__traceback__)
