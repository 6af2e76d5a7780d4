"""Bounds that hold at all times: of shares, quantiles and ratios."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from schemas import bounds
from schemas.ratios import Sides, ratio_bounds


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_share_lies_between_its_bounds(bad: int, good: int) -> None:
    found = bounds.share(bad, bad + good, 0.05)
    if bad + good == 0:
        assert found is None
    else:
        assert found is not None
        assert 0 <= found.lower <= found.value <= found.upper <= 1


def test_bounds_hold_at_all_looks_at_once() -> None:
    """300 runs of up to 2,000 jobs, looked at after each tenth: the true share is left out of fewer than 5 %."""
    chance = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        bad = np.cumsum(chance.random(2000) < 0.03)
        looks = [(int(bad[at]), at + 1) for at in range(9, 2000, 50)]
        wrong += any(bounds.log_evidence(each, jobs, 0.03) >= np.log(20) for each, jobs in looks)
    assert wrong <= 15


def test_a_quantile_lies_between_its_bounds() -> None:
    found = bounds.quantile({0: 50, 1: 400, 2: 500, 3: 50}, 0.5, 0.05)
    assert found == bounds.Quantile(2, 0, 2)
    assert bounds.quantile({0: 5_000, 9: 4_000}, 0.95, 0.05) == bounds.Quantile(9, 0, 9)


def test_a_few_values_tell_no_upper_bound_of_a_high_quantile() -> None:
    assert bounds.quantile({4: 20}, 0.99, 0.05) == bounds.Quantile(4, None, None)
    assert bounds.quantile({}, 0.5, 0.05) is None


def sides(*rows: tuple[int, int, int, int]) -> Sides:
    return Sides(*np.array(rows, dtype=np.float64).T)


@pytest.mark.parametrize(
    ("rows", "lower", "upper"),
    [
        ([(10_000, 100, 10_000, 300)], (2.0, 3.0), (3.0, 4.5)),
        ([(10_000, 300, 10_000, 100)], (0.2, 0.34), (0.33, 0.5)),
        ([(10_000, 0, 10_000, 50)], (3.0, 100.0), None),
        ([(10_000, 50, 10_000, 0)], (0.0, 0.0), (0.01, 0.3)),
        ([(100, 0, 100, 0)], (0.0, 0.0), None),
    ],
)
def test_a_ratio_lies_between_its_bounds(
    rows: list[tuple[int, int, int, int]], lower: tuple[float, float], upper: tuple[float, float] | None
) -> None:
    found = ratio_bounds(sides(*rows), 0.05)
    assert lower[0] <= found.lower <= lower[1]
    if upper is None:
        assert found.upper is None
    else:
        assert found.upper is not None
        assert upper[0] <= found.upper <= upper[1]
