"""Running micro-batches to their end, with nothing between their runs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.tensors import Array
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.execution.account import Account
from workers.inference.execution.execution import Execution
from workers.inference.execution.runner import Runner


class Ran(NamedTuple):
    outcomes: list[RunResult]
    account: Account


def room_for(rows: int) -> BatchSizeTuner:
    return BatchSizeTuner(rows, adaptive=False)


def run_all(runner: Runner, jobs: Sequence[PendingJob], stacked: Mapping[str, Array] | None = None) -> Ran:
    execution = Execution(runner, jobs, stacked)
    while not execution.step():
        pass
    return Ran(execution.results, execution.account)
