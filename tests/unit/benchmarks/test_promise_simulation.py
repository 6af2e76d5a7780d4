"""The simulation of promised deadlines, in short: that it runs what was promised, and what it shows."""

from typing import Final

import numpy as np
import pytest

from benchmarks.promise_simulation import (
    BEGAN,
    KINDS,
    ROWS_PER_S,
    WINDOW_S,
    Days,
    Refusal,
    simulated,
    told_over_true,
    true_earliest,
    within,
)
from schemas.promises import Promise
from tests.unit.schemas.test_promises import hours

ANY_TIME: Final = KINDS["work for any time"]


def of(seconds_of_work: int, name: str = "a", within_h: float = 1) -> Promise:
    return Promise(
        tenant="acme",
        id=name,
        model="digits",
        version="1",
        rows=int(seconds_of_work * ROWS_PER_S),
        deadline=BEGAN + hours(within_h),
        created_at=BEGAN,
    )


def steady() -> Days:
    return Days(np.full(10, ROWS_PER_S))


def test_a_batch_alone_takes_its_rows_over_the_rate() -> None:
    days = steady()
    days.take(of(100))
    assert days.ends(of(100)) == 100


def test_an_urgent_batch_waits_for_what_is_in_the_lane_alone() -> None:
    days = steady()
    days.take(of(100))
    for _ in range(20):
        days.pass_second()
    days.take(of(30, "b", 0.5))
    assert 50 < days.ends(of(30, "b")) <= 50 + WINDOW_S
    assert days.ends(of(100)) == 130


def test_the_true_time_of_a_batch_behind_another_is_when_both_have_run() -> None:
    days = steady()
    days.take(of(400, "first", 400 / 3600))
    refusal = Refusal(of(100, "asked", 0.1), days, BEGAN + hours(0.2))
    assert true_earliest(refusal) == pytest.approx(500, rel=0.02)
    assert told_over_true([refusal], 1) == pytest.approx([720 / 500], rel=0.02)


@pytest.mark.parametrize("load", [0.8, 1.0, 1.2])
def test_promises_are_kept_whatever_the_load(load: float) -> None:
    outcome = simulated(load, ANY_TIME, days=1.5)
    assert outcome.promised > 100
    assert outcome.kept_share >= 0.99


def test_the_time_that_a_refusal_tells_is_about_the_true_one() -> None:
    refusals = simulated(1.2, ANY_TIME, days=1.5).refusals
    told = told_over_true(refusals, 10)
    assert len(told) == 10
    assert within(told) >= 0.8
