"""Running a micro-batch so that a bad row hurts only itself. Blocking; called in the inference thread.

When a run fails it is halved until the culprits stand alone, see `bisection`. It is halved as well when memory runs
out, and then nobody is to blame who can be run alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from runtime.logs import get_logger
from schemas.errors import InvalidInput, JobError, OutOfMemory, OutputInvalid, PenstockError
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.batching.compatibility import PLAIN, BatchCompatibility
from workers.inference.batching.padding import pad_rows, round_up
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.execution.bisection import isolate
from workers.inference.execution.finite import refuse_non_finite

log = get_logger(__name__)

NO_ROOM = (OutOfMemory, MemoryError)


class Model(Protocol):
    """What a runner needs of a backend."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        """Outputs by name for inputs by name, all of shape [rows, ...]. Blocks; may raise anything."""


class Run(NamedTuple):
    """One run of the model: with how many rows and at which cost, padding included, and how long it took."""

    rows: int
    cost: float
    seconds: float


@dataclass(slots=True)
class Account:
    """What a micro-batch took. Of the cost of the `runs` that went well, `real_cost` was no padding.

    `too_large` ran out of memory, and not because of one item that has no room even alone. `failed_s` are the seconds
    within the model that came to nothing, `collate_s` those of stacking.
    """

    runs: list[Run] = field(default_factory=list)
    real_cost: float = 0.0
    too_large: list[Run] = field(default_factory=list)
    failed_s: float = 0.0
    collate_s: float = 0.0

    @property
    def padding_cost(self) -> float:
        return max(0.0, sum(run.cost for run in self.runs) - self.real_cost)

    @property
    def model_s(self) -> float:
        return self.failed_s + sum(run.seconds for run in self.runs)


class Ran(NamedTuple):
    """What became of each item, in order, and what it took."""

    outcomes: list[RunResult]
    account: Account


class Runner:
    """Runs micro-batches of one model version. `max_rows` is the most that the model takes at once.

    `prepare` is called before each micro-batch, outside of what is measured: it brings the model into memory.
    """

    def __init__(
        self,
        model: Model,
        signature: Signature,
        max_rows: int,
        rules: BatchCompatibility = PLAIN,
        *,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._prepare = prepare
        self.signature = signature
        self._max_rows = max_rows
        self._rules = rules
        self._account = Account()
        self._failures: list[BaseException] = []
        self._no_room = Run(0, 0.0, 0.0)

    def stack(self, items: Sequence[PendingJob]) -> dict[str, Array]:
        """The items' rows, as the model takes them. In any thread."""
        return self._rules.padding.stack([item.request.inputs for item in items])

    def run(self, items: Sequence[PendingJob], stacked: Mapping[str, Array] | None = None) -> Ran:
        """Run the items of a micro-batch. `stacked` are their rows, where they have been stacked already."""
        self._account = Account()
        self._failures = []
        self._prepare()
        outcomes = self._outcomes(items, stacked)
        if self._failures:
            self._tell(items, outcomes)
        return Ran(outcomes, self._account)

    def _outcomes(self, items: Sequence[PendingJob], stacked: Mapping[str, Array] | None = None) -> list[RunResult]:
        def attempt(some: Sequence[PendingJob]) -> Sequence[RunResult] | BaseException:
            return self._attempt(some, stacked if len(some) == len(items) else None)

        ends = isolate(items, attempt)
        return [_why(end) if isinstance(end, BaseException) else end for end in ends]

    def _attempt(
        self, items: Sequence[PendingJob], stacked: Mapping[str, Array] | None
    ) -> Sequence[RunResult] | BaseException:
        alone = len(items) == 1
        try:
            inputs = stacked or self._stack(items)
            outputs = self._run_rows(inputs, self._rules.agreed(items[0].request.parameters), alone=alone)
            parts = self._rules.padding.cut(outputs, [item.request.inputs for item in items], inputs)
            checked = refuse_non_finite(self.signature, items, outputs, parts)
        # A model may call sys.exit, and a panic of Rust code is a BaseException too. In this thread they are no signal
        # to anyone, and let through they would end the worker, again and again with each redelivery of the job.
        except BaseException as error:
            if isinstance(error, NO_ROOM) and not alone:
                return self._halved(items)
            if alone:
                self._failures.append(error)
            return error
        self._account.real_cost += sum([item.rows * item.row_cost for item in items])
        return checked

    def _halved(self, items: Sequence[PendingJob]) -> list[RunResult]:
        too_large = self._no_room
        middle = len(items) // 2
        outcomes = self._outcomes(items[:middle]) + self._outcomes(items[middle:])
        if not any(isinstance(outcome, OutOfMemory) for outcome in outcomes):
            self._account.too_large.append(too_large)
        return outcomes

    def _stack(self, items: Sequence[PendingJob]) -> dict[str, Array]:
        started = time.perf_counter()
        stacked = self.stack(items)
        self._account.collate_s += time.perf_counter() - started
        return stacked

    def _run_rows(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any], *, alone: bool) -> dict[str, Array]:
        """One run; or several, where a single item has more rows than may run at once, or than memory has room for."""
        rows = len(next(iter(inputs.values())))
        at_once = self._rules.most_rows(min(rows, self._max_rows), self._rules.size(inputs))
        too_large: list[Run] = []
        while True:
            try:
                outputs = self._run_slices(inputs, parameters, rows, at_once)
            except NO_ROOM:
                if not alone or at_once == 1:
                    raise
                too_large.append(self._no_room)
                at_once //= 2
            else:
                self._account.too_large += too_large
                return outputs

    def _run_slices(
        self, inputs: Mapping[str, Array], parameters: Mapping[str, Any], rows: int, at_once: int
    ) -> dict[str, Array]:
        if rows <= at_once:
            return self._run_once(inputs, parameters, rows)
        parts = [
            self._run_once(
                {name: array[start : start + at_once] for name, array in inputs.items()},
                parameters,
                min(at_once, rows - start),
            )
            for start in range(0, rows, at_once)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_once(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any], rows: int) -> dict[str, Array]:
        """One run, with rows added where the model takes certain numbers of them only, and taken away again."""
        run_rows = round_up(rows, self._rules.batch_sizes)
        padded = pad_rows(inputs, run_rows) if run_rows > rows else inputs
        cost = self._rules.cost(rows, self._rules.size(inputs))
        started = time.perf_counter()
        try:
            outputs = self._model.run(padded, parameters)
            self._check(outputs, run_rows)
        except BaseException as error:
            failed = Run(run_rows, cost, time.perf_counter() - started)
            self._account.failed_s += failed.seconds
            if isinstance(error, NO_ROOM):
                self._no_room = failed
            raise
        self._account.runs.append(Run(run_rows, cost, time.perf_counter() - started))
        return {name: array[:rows] for name, array in outputs.items()} if run_rows > rows else outputs

    def _check(self, outputs: Mapping[str, Array], rows: int) -> None:
        for spec in self.signature.outputs:
            array = outputs.get(spec.name)
            if array is None:
                raise OutputInvalid(f"the model gave no output {spec.name!r}")
            if len(array) != rows:
                raise OutputInvalid(f"output {spec.name!r} has {len(array)} rows for {rows} rows of input")

    def _tell(self, items: Sequence[PendingJob], outcomes: Sequence[RunResult]) -> None:
        """One line a micro-batch: a model that fails on everything must not bury the log under tracebacks."""
        failed = [item.job.id for item, outcome in zip(items, outcomes, strict=True) if isinstance(outcome, JobError)]
        job = items[0].job
        log.warning(
            "the model failed",
            model=f"{job.model}/{job.version}",
            jobs=failed[:10],
            failed=len(failed),
            of=len(items),
            exc_info=self._failures[0],
        )


def _why(error: BaseException) -> PenstockError:
    """What the client is told. An exception's own text stays in the log: it may speak of paths and internals."""
    if isinstance(error, JobError | InvalidInput):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("the model ran out of memory on this input")
    return JobError(f"the model failed on this input ({type(error).__name__})")
