"""The bets on an interval: under the null, no matter which, none makes more than it costs on average."""

import itertools
import math
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given

from tests.examples import examples
from workers.rollout.judging import ratio
from workers.rollout.judging.eprocess import Array
from workers.rollout.judging.ratio import Sides

jobs = st.integers(0, 7)
share = st.floats(0.001, 0.999)
margins = st.floats(0.5, 20)


def sides(stable_jobs: float, stable_bad: float, canary_jobs: float, canary_bad: float) -> Sides:
    return Sides(*(np.asarray(float(each)) for each in (stable_jobs, stable_bad, canary_jobs, canary_bad)))


def chance_of(bad: int, of: int, share: float) -> float:
    return math.comb(of, bad) * share**bad * (1 - share) ** (of - bad)


def mean(stable: int, canary: int, shares: tuple[float, float], bet: Callable[[Sides], Array]) -> Array:
    """Of what is made of 1, over all that may come."""
    pairs = list(itertools.product(range(stable + 1), range(canary + 1)))
    chances = [chance_of(ours, stable, shares[0]) * chance_of(theirs, canary, shares[1]) for ours, theirs in pairs]
    ours, theirs = np.array(pairs, dtype=np.float64).T
    found = bet(Sides(np.full(len(pairs), float(stable)), ours, np.full(len(pairs), float(canary)), theirs))
    total: Array = np.array(chances) @ np.exp(found)
    return total


@examples(50)
@given(jobs, jobs, share, st.floats(0, 1), margins)
def test_against_a_version_within_the_margin_no_bet_on_bad_jobs_makes_more_than_it_costs(
    stable: int, canary: int, bad: float, part: float, margin: float
) -> None:
    shares = bad, part * min(1.0, margin * bad)

    assert np.all(mean(stable, canary, shares, lambda each: ratio.rare(each, margin, ratio.WORSE)) <= 1 + 1e-9)


@examples(50)
@given(jobs, jobs, share, st.floats(0, 1), margins)
def test_for_a_version_beyond_the_margin_no_bet_on_bad_jobs_makes_more_than_it_costs(
    stable: int, canary: int, bad: float, part: float, margin: float
) -> None:
    least = margin * bad
    assume(least < 1)
    shares = bad, least + part * (1 - least)

    assert np.all(mean(stable, canary, shares, lambda each: ratio.rare(each, margin, ratio.BETTER)) <= 1 + 1e-9)


@examples(50)
@given(jobs, jobs, share, st.floats(0, 1), margins, share)
def test_blocks_make_no_more_than_they_cost_however_wrong_the_expected_share_is(
    stable: int, canary: int, bad: float, part: float, margin: float, expected: float
) -> None:
    within = bad, part * min(1.0, margin * bad)

    found = mean(stable, canary, within, lambda each: ratio.frequent(each, margin, ratio.WORSE, expected))

    assert np.all(found <= 1 + 1e-9)


@examples(50)
@given(jobs, jobs, share, st.floats(0, 1), margins, share)
def test_blocks_for_a_version_make_no_more_than_they_cost_if_it_is_beyond_the_margin(
    stable: int, canary: int, bad: float, part: float, margin: float, expected: float
) -> None:
    least = margin * bad
    assume(least < 1)
    beyond = bad, least + part * (1 - least)

    found = mean(stable, canary, beyond, lambda each: ratio.frequent(each, margin, ratio.BETTER, expected))

    assert np.all(found <= 1 + 1e-9)


def test_for_few_rare_jobs_at_the_margin_a_bet_costs_just_what_it_makes() -> None:
    found = mean(6, 3, (1e-5, 1.5e-5), lambda each: ratio.rare(each, 1.5, ratio.WORSE))

    assert found == pytest.approx(np.ones(len(ratio.WORSE)), abs=1e-6)


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(1, 1000), st.integers(0, 999), margins)
def test_one_more_bad_job_of_the_canary_speaks_against_it_and_one_of_the_stable_version_for_it(
    stable: int, stable_bad: int, canary: int, canary_bad: int, margin: float
) -> None:
    assume(stable_bad <= stable and canary_bad < canary)
    before = ratio.rare(sides(stable, stable_bad, canary, canary_bad), margin, ratio.WORSE)

    assert np.all(ratio.rare(sides(stable, stable_bad, canary, canary_bad + 1), margin, ratio.WORSE) > before)
    assert np.all(ratio.rare(sides(stable, stable_bad + 1, canary, canary_bad), margin, ratio.WORSE) < before)


@pytest.mark.parametrize("counts", [(0, 0, 5, 5), (5, 5, 0, 0), (0, 0, 0, 0)])
def test_an_interval_in_which_one_side_had_no_jobs_says_nothing(counts: tuple[int, int, int, int]) -> None:
    assert not ratio.rare(sides(*counts), 1.5, ratio.WORSE).any()
    assert not ratio.frequent(sides(*counts), 1.5, ratio.WORSE, 0.2).any()


@pytest.mark.parametrize("expected", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("canary_bad", [0, 10**12])
@pytest.mark.parametrize("stable_bad", [0, 10**12])
def test_counts_of_any_size_make_finite_numbers(stable_bad: int, canary_bad: int, expected: float) -> None:
    counts = sides(10**12, stable_bad, 10**12, canary_bad)

    for margin, factors in itertools.product((0.001, 1.5, 10**6), (ratio.WORSE, ratio.BETTER)):
        assert np.isfinite(ratio.rare(counts, margin, factors)).all()
        assert np.isfinite(ratio.frequent(counts, margin, factors, expected)).all()


def test_where_bad_jobs_are_frequent_a_block_tells_more() -> None:
    typical = sides(475, 95, 25, 12)

    as_block = ratio.frequent(typical, 1.5, ratio.WORSE, 0.2)

    assert as_block.max() > 1.3 * ratio.rare(typical, 1.5, ratio.WORSE).max()


def test_many_rollouts_beside_each_other_are_as_many_by_themselves() -> None:
    both = Sides(*(np.array([first, second]) for first, second in zip((90, 3, 10, 4), (80, 0, 20, 1), strict=True)))
    margins_of = np.array([1.5, 3.0])

    together = ratio.rare(both, margins_of, ratio.WORSE)

    assert together[0] == pytest.approx(ratio.rare(sides(90, 3, 10, 4), 1.5, ratio.WORSE))
    assert together[1] == pytest.approx(ratio.rare(sides(80, 0, 20, 1), 3.0, ratio.WORSE))
