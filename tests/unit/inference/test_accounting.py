"""Seconds of the device: used, wasted or saved, and what is learned from them."""

from itertools import count

import pytest
from prometheus_client import REGISTRY

from schemas.errors import Canceled, JobError
from tests.unit.inference.jobs import items
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.pending_job import RunResult
from workers.inference.engine.accounting import DeviceAccounting
from workers.inference.execution.account import Account, Run

RESULT: RunResult = {}
CANCELED = Canceled("the job was canceled")
FAILED = JobError("the model failed on this input")

_versions = count()


class Kept(DeviceAccounting):
    """The time of a lane that no other test has counted for."""

    def __init__(self, sizer: BatchSizeTuner | None = None) -> None:
        self.sizer = sizer or BatchSizeTuner(64)
        self.labels = {"model": "timed", "version": str(next(_versions)), "lane": "live"}
        super().__init__(self.labels, self.sizer)

    def seconds(self, outcome: str) -> float | None:
        labels = {**self.labels, "outcome": outcome}
        return REGISTRY.get_sample_value("penstock_worker_device_seconds_total", labels)

    def version_value(self, name: str) -> float | None:
        return REGISTRY.get_sample_value(name, {name: self.labels[name] for name in ("model", "version")})


def account(*runs: Run, failed_s: float = 0.0, too_large: tuple[Run, ...] = ()) -> Account:
    return Account(runs=list(runs), failed_s=failed_s, too_large=list(too_large))


def test_a_run_whose_results_are_all_kept_is_used() -> None:
    kept = Kept()
    kept.ended(account(Run(4, 4.0, 2.0)), items([1, 3]), [RESULT, RESULT], [RESULT, RESULT])
    assert (kept.seconds("used"), kept.seconds("wasted")) == (2.0, 0.0)


def test_rows_of_jobs_that_were_over_when_the_run_ended_are_wasted() -> None:
    kept = Kept()
    kept.ended(account(Run(4, 4.0, 2.0)), items([1, 3]), [RESULT, RESULT], [RESULT, CANCELED])
    assert (kept.seconds("used"), kept.seconds("wasted")) == (0.5, 1.5)


def test_runs_that_failed_are_wasted_and_those_that_found_the_sound_rows_are_used() -> None:
    kept = Kept()
    halves = account(Run(2, 2.0, 1.0), Run(1, 1.0, 0.5), failed_s=3.0)
    outcomes: list[RunResult] = [RESULT, RESULT, RESULT, FAILED]
    kept.ended(halves, items([1, 1, 1, 1]), outcomes, outcomes)
    assert (kept.seconds("used"), kept.seconds("wasted")) == (1.5, 3.0)


def test_where_nothing_but_failures_came_of_it_all_is_wasted() -> None:
    kept = Kept()
    kept.ended(account(failed_s=1.0), items([1]), [FAILED], [FAILED])
    assert (kept.seconds("used"), kept.seconds("wasted")) == (0.0, 1.0)


def test_rows_that_end_before_they_run_save_their_share_of_a_full_micro_batch() -> None:
    kept = Kept(BatchSizeTuner(64, adaptive=False))
    kept.spared(10)
    assert kept.seconds("saved") == 0.0, "nothing is known yet"
    for _ in range(10):
        kept.ran(account(Run(64, 64.0, 6.4)), turn_s=6.4)
    kept.spared(10)
    assert kept.seconds("saved") == pytest.approx(1.0)


def test_the_way_to_the_device_and_back_counts_as_part_of_the_run() -> None:
    kept = Kept(BatchSizeTuner(64, adaptive=False))
    for _ in range(10):
        kept.ran(account(Run(64, 64.0, 0.001)), turn_s=0.003)
    assert kept.sizer.predicted_s(64, 64.0) == pytest.approx(0.003)


def test_each_slice_of_a_large_job_is_a_run_of_its_own() -> None:
    kept = Kept(BatchSizeTuner(64, adaptive=False))
    for _ in range(10):
        kept.ran(account(Run(64, 64.0, 1.0), Run(64, 64.0, 1.0)), turn_s=9.0)
    assert kept.sizer.predicted_s(64, 64.0) == pytest.approx(1.0)


def test_memory_that_runs_out_halves_the_next_micro_batch_and_is_counted() -> None:
    kept = Kept()
    kept.sizer.start_at(64)
    kept.ran(account(Run(32, 32.0, 1.0), Run(32, 32.0, 1.0), too_large=(Run(64, 64.0, 0.1),)), turn_s=2.2)
    assert kept.sizer.rows == 32
    assert kept.version_value("penstock_worker_batch_size_rows") == 32
    assert kept.version_value("penstock_worker_out_of_memory_total") == 1


@pytest.mark.parametrize("in_pieces", [False, True])
def test_of_parts_of_a_micro_batch_no_size_is_learned(in_pieces: bool) -> None:
    sizer = BatchSizeTuner(64)
    sizer.start_at(64)
    kept = Kept(sizer)
    for _ in range(200):  # they would seem to be cheap, whether another part failed or all of them passed
        parts = account(Run(32, 32.0, 0.001), Run(16, 16.0, 0.0005), failed_s=0.0 if in_pieces else 0.1)
        parts.in_pieces = in_pieces
        kept.ran(parts, turn_s=0.2)
    assert sizer.best_rows == sizer.rows == 64
    assert sizer.predicted_s(32, 32.0) == pytest.approx(0.001, rel=0.1)
