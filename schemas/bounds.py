"""Bounds that hold at all times at once: of a share, and of a quantile of what is counted in bins. In plain floats.

A bet against each possible value; what the bet has grown on is refuted (Robbins 1970; Howard, Ramdas, McAuliffe and
Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021; of quantiles: Howard and Ramdas,
"Sequential estimation of quantiles with applications to A/B testing and best-arm identification", 2022).
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

_HALVINGS: Final = 60


class Bounds(NamedTuple):
    """What is known of a number: the estimate, and between what it lies."""

    value: float
    lower: float
    upper: float


def log_evidence(bad: float, jobs: float, share: float, spread: tuple[float, float] = (0.5, 0.5)) -> float:
    """The log of the evidence that the true share is not `share`, 0 < `share` < 1: what a bet on all other shares has
    become, spread as a Beta distribution (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021). Valid at any
    time."""
    of_bad, of_good = spread
    others = _log_beta(bad + of_bad, jobs - bad + of_good) - _log_beta(of_bad, of_good)
    return others - bad * math.log(share) - (jobs - bad) * math.log1p(-share)


def upper(bad: float, jobs: float, level: float) -> float:
    """The share is below this at all times at once, but for a probability of `level`."""
    if jobs <= 0 or bad >= jobs:
        return 1.0
    needed = -math.log(level)
    low, high = bad / jobs, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle < 1 and log_evidence(bad, jobs, middle) < needed:
            low = middle
        else:
            high = middle
    return high


def lower(bad: float, jobs: float, level: float) -> float:
    """The same from below."""
    return 0.0 if jobs <= 0 else 1 - upper(jobs - bad, jobs, level)


def share(bad: float, jobs: float, level: float) -> Bounds | None:
    """None where there is nothing to know it from. The bet is on both sides at once, so both bounds have the level."""
    return Bounds(bad / jobs, lower(bad, jobs, level), upper(bad, jobs, level)) if jobs > 0 else None


class Quantile(NamedTuple):
    """The bin that a quantile lies in; it is surely above the upper edge of the bin `above`, and not above that of
    `below`. None where that is not known yet."""

    bin: int
    above: int | None
    below: int | None


def quantile(bins: Mapping[int, int], at: float, level: float) -> Quantile | None:
    """The quantile `at`, 0 < `at` < 1, of what is counted in `bins`; None where that is nothing.

    What lies up to an edge is a share of all: where that is surely less than `at`, the quantile lies above the edge.
    """
    total, up_to = sum(bins.values()), 0
    found: int | None = None
    above: int | None = None
    for place in sorted(bins):
        up_to += bins[place]
        if found is None and up_to >= at * total:
            found = place
        if log_evidence(up_to, total, at) >= -math.log(level):
            if up_to < at * total:
                above = place
            elif found is not None:
                return Quantile(found, above, place)
    return None if found is None else Quantile(found, above, None)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
