"""What the micro-batches of a lane take of the device: told to whoever sizes them, and counted."""

from collections.abc import Mapping, Sequence
from itertools import compress

from schemas.errors import PenstockError
from workers.inference import metrics
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.execution.account import Account


class DeviceAccounting:
    """Seconds are used for results that are kept, wasted on others, or saved by what ends before it runs."""

    def __init__(self, labels: Mapping[str, str], sizer: BatchSizeTuner) -> None:
        self._sizer = sizer
        version = {"model": labels["model"], "version": labels["version"]}
        self._best_rows = 0
        self._batch_size = metrics.BATCH_SIZE.labels(**version)
        self._out_of_memory = metrics.OUT_OF_MEMORY.labels(**version)
        self._used = metrics.DEVICE_SECONDS.labels(**labels, outcome="used")
        self._wasted = metrics.DEVICE_SECONDS.labels(**labels, outcome="wasted")
        self._saved = metrics.DEVICE_SECONDS.labels(**labels, outcome="saved")

    def ran(self, account: Account, turn_s: float) -> None:
        """Learn from a micro-batch. `turn_s` is for how long it kept the device from others, on the way there and back
        as well: for a model of microseconds that is most of it, and a reason for larger micro-batches."""
        around_s = max(0.0, turn_s - account.model_s) if len(account.runs) == 1 else 0.0
        for run in account.runs:
            if account.failed_s or account.in_pieces:
                self._sizer.observe_part(run.cost, run.seconds)
            else:
                self._sizer.observe(run.rows, run.cost, run.seconds + around_s)
        for run in account.too_large:
            self._sizer.out_of_memory(run.rows, run.cost)
            self._out_of_memory.inc()
        if self._sizer.best_rows != self._best_rows:
            self._best_rows = self._sizer.best_rows
            self._batch_size.set(self._best_rows)

    def ended(
        self,
        account: Account,
        jobs: Sequence[PendingJob],
        outcomes: Sequence[RunResult],
        ends: Sequence[RunResult],
        share: float = 1.0,
    ) -> None:
        """Count the lane's `share` of what the micro-batch took. Of the `outcomes` of its jobs some are dropped: these
        had other `ends` by then."""
        good_rows = _rows_of_results(jobs, outcomes)
        wasted_s = account.failed_s
        if good_rows:
            wasted_s += (account.model_s - account.failed_s) * (1 - _rows_of_results(jobs, ends) / good_rows)
        self._wasted.inc(share * wasted_s)
        self._used.inc(share * (account.model_s - wasted_s))

    def spared(self, rows: float) -> None:
        """So many rows will not run."""
        if rows:
            self._saved.inc(rows * (self._sizer.row_s() or 0.0))


def _rows_of_results(jobs: Sequence[PendingJob], outcomes: Sequence[RunResult]) -> int:
    kept = compress(jobs, (not isinstance(outcome, PenstockError) for outcome in outcomes))
    return sum([job.rows for job in kept])
