"""How many times as often one version's jobs are bad as another's: evidence, and bounds that hold at all times.

What both have in common, the load, the inputs, a dependency that is down, may swing from interval to interval: only
from whom the bad jobs of each interval are is looked at.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# On top of the margin: against the version, and for it.
WORSE: Final = np.array([1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 8.0, 20.0, 60.0, 200.0, 600.0])
BETTER: Final = np.array([0.65, 0.5, 0.35, 0.1])
# Beyond these nobody needs to know it exactly.
_LEAST: Final = 1e-3
_MOST: Final = 1e3
_HALVINGS: Final = 30


class Sides(NamedTuple):
    """Jobs and bad jobs of both versions in one interval."""

    stable_jobs: Array
    stable_bad: Array
    canary_jobs: Array
    canary_bad: Array


def rare(sides: Sides, margin: Array | float, factors: Array) -> Array:
    """From whom the bad jobs are, given how many there are: nothing of the stable version's share needs to be known.

    Given a bad job, it is the canary's with odds of `margin * factor * canary_jobs / stable_jobs` (Lindon and Malek,
    "Anytime-valid inference for multinomial count data", 2022). Exact for Poisson counts; for jobs that are bad or
    not the mean is below 1, since 1 + x <= exp(x): valid, and slow where many are bad.
    """
    compared = (sides.stable_jobs > 0) & (sides.canary_jobs > 0)
    odds = np.where(compared, margin * sides.canary_jobs / np.maximum(sides.stable_jobs, 1), 0.0)[..., None]
    bad = np.where(compared, sides.stable_bad + sides.canary_bad, 0.0)[..., None]
    canary_bad = np.where(compared, sides.canary_bad, 0.0)[..., None]
    found: Array = canary_bad * np.log(factors) - bad * np.log1p(odds * (factors - 1) / (1 + odds))
    return found


def mean_log(logs: Array) -> Array:
    """The log of the mean over alternatives, the last axis, of what stands there in logs."""
    mean: Array = np.logaddexp.reduce(logs, axis=-1) - np.log(logs.shape[-1])
    return mean


class RatioBounds(NamedTuple):
    """Between what the ratio lies; `upper` is None where it may be any above `lower`."""

    lower: float
    upper: float | None


def ratio_bounds(sides: Sides, level: float) -> RatioBounds:
    """The ratio of the canary's share of bad jobs to the stable version's is between these at all times at once, but
    for a probability of `level`. `sides` are one-dimensional: what each interval held.

    A ratio is refuted where the mean of bets on larger ones, or on smaller ones, has grown to 2 / `level`.
    """
    needed = float(np.log(2 / level))
    lower = _edge(sides, needed, WORSE)
    upper = _edge(sides, needed, BETTER)
    return RatioBounds(0.0 if lower <= _LEAST * 1.01 else lower, None if upper >= _MOST / 1.01 else upper)


def _edge(sides: Sides, needed: float, factors: Array) -> float:
    """The border between the ratios that the bets refute and those that they do not, on a logarithmic scale."""
    is_worse = bool(factors[0] > 1)
    low, high = float(np.log(_LEAST)), float(np.log(_MOST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        logs = rare(sides, float(np.exp(middle)), factors).sum(axis=0)
        refuted = float(mean_log(logs)) >= needed
        low, high = (middle, high) if refuted == is_worse else (low, middle)
    return float(np.exp((low + high) / 2))
