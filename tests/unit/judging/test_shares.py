import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given
from scipy.stats import beta  # type: ignore[import-untyped]

from schemas import bounds
from workers.rollout.judging import shares


@pytest.mark.parametrize(("jobs", "most"), [(300, 0.0212), (1000, 0.0070), (3000, 0.0025)])
def test_jobs_without_a_bad_one_prove_that_the_share_is_low(jobs: int, most: float) -> None:
    assert bounds.upper(0, jobs, 0.05) == pytest.approx(most, abs=0.0001)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from([0.05, 0.001]))
def test_a_bound_lies_above_what_was_seen(bad: int, good: int, level: float) -> None:
    jobs = bad + good
    assume(jobs)

    assert bad / jobs <= bounds.upper(bad, jobs, level) <= 1


def test_a_share_of_nothing_is_not_known() -> None:
    assert bounds.upper(0, 0, 0.05) == 1.0


@given(st.integers(1, 12), st.floats(0.01, 0.99))
def test_evidence_against_the_true_share_is_a_unit_on_average(jobs: int, share: float) -> None:
    total = sum(
        math.comb(jobs, bad)
        * share**bad
        * (1 - share) ** (jobs - bad)
        * math.exp(bounds.log_evidence(bad, jobs, share))
        for bad in range(jobs + 1)
    )

    assert total == pytest.approx(1.0)


@given(st.integers(0, 8), st.floats(0.0001, 0.5), st.floats(0, 1))
def test_no_bet_that_a_share_is_above_the_floor_makes_more_than_it_costs_if_it_is_not(
    jobs: int, floor: float, part: float
) -> None:
    share = part * floor

    bad = np.arange(jobs + 1.0)

    chances = [math.comb(jobs, each) * share**each * (1 - share) ** (jobs - each) for each in range(jobs + 1)]
    means = np.array(chances) @ np.exp(shares.above(np.full(jobs + 1, float(jobs)), bad, floor))

    assert np.all(means <= 1 + 1e-9)


def test_the_fewest_jobs_without_a_bad_one_are_just_enough() -> None:
    fewest = shares.fewest_without_fault(0.01, 0.025)

    assert bounds.upper(0, fewest, 0.025) < 0.01 <= bounds.upper(0, fewest - 1, 0.025)


@pytest.mark.parametrize(
    ("bad", "total"), [(0, 10), (1, 10), (9, 10), (5, 100), (50, 1000), (50_000, 1_000_000), (999_999, 1_000_000)]
)
@pytest.mark.parametrize("level", [0.05, 0.0125, 0.0001])
def test_bounds_at_one_look_are_those_of_clopper_and_pearson(bad: int, total: int, level: float) -> None:
    assert shares.highest(bad, total, level) == pytest.approx(beta.ppf(1 - level, bad + 1, total - bad), rel=1e-6)
    if bad:
        assert shares.lowest(bad, total, level) == pytest.approx(beta.ppf(level, bad, total - bad + 1), rel=1e-5)


@pytest.mark.parametrize("total", [0, 1, 10**6])
def test_where_all_are_bad_the_share_may_be_one(total: int) -> None:
    assert shares.highest(total, total, 0.05) == 1.0
    assert shares.lowest(0, total, 0.05) == 0.0


def test_all_bad_and_none_bad_stay_finite_however_many() -> None:
    for jobs, is_bad in itertools.product((1, 10**12), (False, True)):
        found = shares.above(jobs, jobs * is_bad, 0.0001)
        assert np.isfinite(found).all()
