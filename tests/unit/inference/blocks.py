"""Jobs that are answered row by row, run to their end, and models that some of their rows are bad for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schemas.blocks import encode_block
from schemas.errors import InvalidInput, OutOfMemory, PenstockError
from schemas.jobs import Answer, Payload
from schemas.tensors import Array
from tests.unit.inference.jobs import SIGNATURE, item, lane_job
from tests.unit.inference.models import Adder
from tests.unit.inference.running import room_for
from workers.inference.batching.pending_job import PendingJob, RowAnswers, RunResult
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.execution import Execution
from workers.inference.execution.runner import Model, Runner

DELAYS_S = (10.0, 60.0)


def block(
    *values: float, attempt: int = 0, answer: Answer = Answer.TENSORS, payload: Payload | None = None
) -> PendingJob:
    payload = payload or encode_block({"x": np.array(values, dtype=np.float32).reshape(-1, 1)})
    return item(job=lane_job(payload=payload, row_errors=True, attempt=attempt, answer=answer))


def run(model: Model, jobs: Sequence[PendingJob], max_rows: int = 64, runner: Runner | None = None) -> list[RunResult]:
    execution = Execution(runner or Runner(model, SIGNATURE, room_for(max_rows)), jobs, tries=len(DELAYS_S))
    while not execution.step():
        pass
    return execution.results


def answers(result: RunResult, rows: int) -> list[float | None]:
    """The double of each row; None where it has an error."""
    assert not isinstance(result, PenstockError), result
    if not isinstance(result, RowAnswers):
        return result["double"].ravel().tolist()
    values = iter(result.outputs["double"].ravel().tolist() if result.outputs else [])
    return [None if row in result.errors else next(values) for row in range(rows)]


class Naming(Adder):
    """Names its bad rows; with `outputs`, it answers the others at once."""

    def __init__(self, poison: frozenset[float], *, outputs: bool) -> None:
        super().__init__(poison)
        self._outputs = outputs

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        values = inputs["x"].ravel().tolist()
        bad = [row for row, value in enumerate(values) if value in self.poison]
        if not bad:
            return super().run(inputs, parameters)
        self.batches.append(values)
        good = np.delete(inputs["x"], bad, axis=0)
        given = {"same": good, "double": np.float32(2) * good} if self._outputs else None
        raise BadRows({row: InvalidInput(f"{values[row]} is bad") for row in bad}, given)


class Crowded(Adder):
    """Has room for so many rows at once, and for none of the poison."""

    def __init__(self, poison: frozenset[float], room: int) -> None:
        super().__init__()
        self._bad = poison
        self._room = room

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        values = inputs["x"].ravel().tolist()
        if len(values) > self._room or self._bad.intersection(values):
            self.batches.append(values)
            raise OutOfMemory("no room")
        return super().run(inputs, parameters)
