"""Running a micro-batch so that a bad row hurts only itself. Blocking; called in the inference thread.

When a run fails it is halved until the culprits stand alone: k of them among n cost O(k log n) further runs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from runtime.logs import get_logger
from schemas.errors import InvalidInput, JobError, OutputInvalid, PenstockError
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.collate import same_shape, split, stack
from workers.inference.finite import refuse_non_finite
from workers.inference.item import Item, Outcome

log = get_logger(__name__)


class Model(Protocol):
    """What a runner needs of a backend."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        """Outputs by name for inputs by name, all of shape [rows, ...]. Blocks; may raise anything."""


class Ran(NamedTuple):
    """What became of each item, in order, and the seconds spent within the model and on stacking."""

    outcomes: list[Outcome]
    model_s: float
    collate_s: float


class Runner:
    """Runs micro-batches of one model version. `max_rows` is the most that the model takes at once.

    `prepare` is called before each micro-batch, outside of what is measured: it brings the model into memory.
    """

    def __init__(
        self, model: Model, signature: Signature, max_rows: int, *, prepare: Callable[[], None] = lambda: None
    ) -> None:
        self._model = model
        self._prepare = prepare
        self.signature = signature
        self._max_rows = max_rows
        self._model_s = 0.0
        self._collate_s = 0.0
        self._failures: list[BaseException] = []

    def run(self, items: Sequence[Item], stacked: Mapping[str, Array] | None = None) -> Ran:
        """Run the items, one or more. `stacked` are their rows where they have been stacked already."""
        self._model_s = self._collate_s = 0.0
        self._failures = []
        self._prepare()
        if stacked is not None:
            outcomes = self._run_group(items, stacked)
        else:
            by_item: dict[int, Outcome] = {}
            for group in same_shape(self.signature, items):
                by_item.update(zip(map(id, group), self._run_group(group), strict=True))
            outcomes = [by_item[id(item)] for item in items]
        if self._failures:
            self._tell(items, outcomes)
        return Ran(outcomes, self._model_s, self._collate_s)

    def _run_group(self, items: Sequence[Item], stacked: Mapping[str, Array] | None = None) -> list[Outcome]:
        try:
            outputs = self._run_rows(stacked or self._stack(items))
            return refuse_non_finite(self.signature, items, outputs, split(outputs, items))
        # A model may call sys.exit, and a panic of Rust code is a BaseException too. In this thread they are no signal
        # to anyone, and let through they would end the worker, again and again with each redelivery of the job.
        except BaseException as error:
            if len(items) == 1:
                self._failures.append(error)
                return [_why(error)]
        middle = len(items) // 2
        return self._run_group(items[:middle]) + self._run_group(items[middle:])

    def _stack(self, items: Sequence[Item]) -> dict[str, Array]:
        started = time.perf_counter()
        stacked = stack(self.signature, items)
        self._collate_s += time.perf_counter() - started
        return stacked

    def _run_rows(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One run; or several, where a single item has more rows than the model takes at once."""
        rows = len(next(iter(inputs.values())))
        if rows <= self._max_rows:
            return self._run_once(inputs, rows)
        parts = [
            self._run_once(
                {name: array[start : start + self._max_rows] for name, array in inputs.items()},
                min(self._max_rows, rows - start),
            )
            for start in range(0, rows, self._max_rows)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_once(self, inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        started = time.perf_counter()
        try:
            outputs = self._model.run(inputs)
        finally:
            self._model_s += time.perf_counter() - started
        for spec in self.signature.outputs:
            array = outputs.get(spec.name)
            if array is None:
                raise OutputInvalid(f"the model gave no output {spec.name!r}")
            if len(array) != rows:
                raise OutputInvalid(f"output {spec.name!r} has {len(array)} rows for {rows} rows of input")
        return outputs

    def _tell(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
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
    return JobError(f"the model failed on this input ({type(error).__name__})")
