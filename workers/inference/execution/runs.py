"""The runs of one micro-batch: one after the other, with pauses between them, each accounted for.

Blocking; steps are made in the inference thread.
"""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from schemas.errors import OutputInvalid
from schemas.tensors import Array
from workers.inference.batching.padding import pad_rows, round_up
from workers.inference.execution.account import Account, Run
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.bisection import Steps
from workers.inference.execution.failures import Failure, Scope, causes, failure_of
from workers.inference.execution.runner import Runner

# What dividing may cost in failed runs: so many of the longest, or so many seconds. To find one or two culprits costs
# less. Jobs that are undecided by then are tried again later, in other company.
DIVIDING_RUNS: Final = 16
DIVIDING_S: Final = 10.0
# A turn is one run, or several that take no longer together: to give the device away and get it back costs some tenths
# of this.
TURN_S: Final = 0.001

T = TypeVar("T")


class Runs:
    """What runs the model for a micro-batch. `no_room`: runs that the device had no room for, each with its jobs;
    `raised` is what the model raised last."""

    def __init__(self, runner: Runner) -> None:
        self.account = Account()
        self.no_room: list[tuple[Sequence[int], Run]] = []
        self.raised: BaseException | None = None
        self._runner = runner
        self._turn_began = math.inf
        self._budget_s = DIVIDING_S
        self._spent_s = 0.0

    @property
    def budget_is_spent(self) -> bool:
        return self._spent_s > self._budget_s

    @contextmanager
    def own_budget(self) -> Iterator[None]:
        """What fails within is not held against the jobs that are divided around it."""
        before_s, self._spent_s = self._spent_s, 0.0
        try:
            yield
        finally:
            self._spent_s = before_s

    def turn(self) -> Steps[None]:
        """Before each run others may have the device, unless this turn has just begun."""
        if time.perf_counter() - self._turn_began >= TURN_S:
            yield
            self._turn_began = math.inf
        self._turn_began = min(self._turn_began, time.perf_counter())

    def attempt(self, work: Callable[[], T], *, alone: bool) -> T | Failure:
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
        self.raised = raised.first_error if isinstance(raised, BadRows) else raised
        return failure

    def run(
        self,
        jobs: Sequence[int],
        inputs: Mapping[str, Array],
        parameters: Mapping[str, Any],
        *,
        alone: bool,
        start: int = 0,
        whole: bool = True,
    ) -> dict[str, Array] | Failure:
        """One run of rows that are the `jobs`', with rows added where the model takes certain numbers of them only, and
        taken away again. `alone`: a failure is that of all of them. Where the rows are not the `whole` of what is to be
        run, they are those from `start` on: so count the bad ones that the model names."""
        rules, rows = self._runner.rules, len(next(iter(inputs.values())))
        run_rows = round_up(rows, rules.batch_sizes)
        cost = rules.cost(rows, rules.size(inputs))
        self._runner.prepare()
        started = time.perf_counter()
        outputs = self.attempt(lambda: self._run_once(inputs, run_rows, rows, parameters), alone=alone)
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
        self._spent_s += run.seconds
        self._budget_s = max(self._budget_s, DIVIDING_RUNS * run.seconds)
        if outputs.too_large:
            self.no_room.append((jobs, run))
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


def _release_frames(error: BaseException) -> None:
    """Let go of what the frames of the error, and of those that led to it, hold; their lines can still be told."""
    for each in causes(error):
        traceback.clear_frames(each.__traceback__)
