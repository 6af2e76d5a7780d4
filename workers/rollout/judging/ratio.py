"""Log likelihood ratios of an interval: how much more likely what it held is if the canary is so many times as bad.

The null says that the canary's share of bad jobs is `margin` times the stable version's, or less (for factors
above 1; or more, for factors below 1). An alternative is a factor on top of the margin. Whatever the stable
version's share is, and however it swings from interval to interval, the mean of what comes out (not of its log) is
at most 1 under the null.

Arrays of counts may have any shape; the alternatives become one more axis behind it.
"""

from typing import Final

import numpy as np

from schemas.ratios import BETTER, WORSE, Sides, rare
from workers.rollout.judging.eprocess import Array

__all__ = ["BETTER", "WORSE", "Sides", "frequent", "rare"]

# An alternative is never that all jobs are bad: one good job would then refute it for good.
_MOST: Final = 0.999


def frequent(sides: Sides, margin: Array | float, factors: Array, expected: Array | float) -> Array:
    """The interval as one block of jobs that are bad or not: faster than `rare` where bad jobs are frequent.

    The alternative has shares of `expected` and `expected * margin * factor`; the null takes the pair of shares on
    its border that is nearest to it in Kullback-Leibler divergence, which makes the mean at most 1 for every pair
    of the null, since that is convex (Turner, Ly and Gruenwald, "Generic e-variables for exact sequential k-sample
    tests", 2024; Turner and Gruenwald 2023 for borders other than equality). `expected`, the stable version's
    share, must come from earlier intervals: if it is wrong, evidence comes slower, and is as valid.
    """
    stable_jobs, canary_jobs = sides.stable_jobs[..., None], sides.canary_jobs[..., None]
    margin, stable = np.asarray(margin)[..., None], np.asarray(expected)[..., None]
    canary = np.minimum(stable * margin * factors, _MOST)
    border = _nearest(stable_jobs, canary_jobs, margin, stable, canary)
    found: Array = (
        _log_ratio(sides.stable_bad[..., None], stable_jobs, stable, border)
        + _log_ratio(sides.canary_bad[..., None], canary_jobs, canary, border * margin)
    )  # fmt: skip
    is_beyond = np.where(factors > 1, canary > stable * margin, canary < stable * margin)
    return np.where(is_beyond & (stable_jobs > 0) & (canary_jobs > 0), found, 0.0)


def _nearest(stable_jobs: Array, canary_jobs: Array, margin: Array, stable: Array, canary: Array) -> Array:
    """The stable version's share on the border: the smaller root of the derivative of the divergence."""
    jobs = np.maximum(stable_jobs + canary_jobs, 1.0)
    square = margin * jobs
    linear = canary_jobs * (margin + canary) + stable_jobs * (1 + margin * stable)
    constant = canary_jobs * canary + stable_jobs * stable
    root = np.sqrt(np.maximum(linear * linear - 4 * square * constant, 0.0))
    found: Array = 2 * constant / np.maximum(linear + root, 1e-300)
    return found


def _log_ratio(bad: Array, jobs: Array, alternative: Array, null: Array) -> Array:
    null = np.clip(null, 1e-300, 1 - 1e-15)
    found: Array = bad * np.log(alternative / null) + (jobs - bad) * (np.log1p(-alternative) - np.log1p(-null))
    return found
