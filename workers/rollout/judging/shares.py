"""What can be said of one share: of bad jobs, or of jobs that went one way. In plain floats but for `above`."""

import functools
import math
from typing import Final

import numpy as np

from schemas.bounds import upper
from workers.rollout.judging.eprocess import Array

_ALTERNATIVES: Final = 7
_HALVINGS: Final = 60


def above(jobs: Array | float, bad: Array | float, floor: float) -> Array:
    """Log likelihood ratios of an interval, that the share is one of some above `floor` and not the floor or less.
    The alternatives, one more axis, lie evenly between the floor and 1 in logarithm."""
    alternatives = floor ** (1 - np.arange(1, _ALTERNATIVES + 1) / (_ALTERNATIVES + 1))
    bad, good = np.asarray(bad)[..., None], np.asarray(jobs - bad)[..., None]
    found: Array = bad * np.log(alternatives / floor) + good * (np.log1p(-alternatives) - np.log1p(-floor))
    return found


@functools.cache
def fewest_without_fault(limit: float, level: float) -> int:
    """So many jobs, none of them bad, put the upper bound below the limit: with fewer nothing can."""
    low, high = 0, 1
    while upper(0, high, level) >= limit:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upper(0, middle, level) < limit else (middle, high)
    return high


def highest(bad: int, total: int, level: float) -> float:
    """The upper bound of a share that was looked at once (Clopper and Pearson 1934): up to `bad` of `total` come with a
    probability of `level` at that share."""
    if bad >= total:
        return 1.0
    low, high = bad / total, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < 1 and _at_most(bad, total, middle) > level else (low, middle)
    return high


def lowest(bad: int, total: int, level: float) -> float:
    """The same from below."""
    return 1 - highest(total - bad, total, level)


def _at_most(bad: int, total: int, share: float) -> float:
    """The probability of up to `bad` of `total`, for a share above `bad` / `total`: terms fall from `bad` downward."""
    log_first = (
        math.lgamma(total + 1) - math.lgamma(bad + 1) - math.lgamma(total - bad + 1)
        + bad * math.log(share) + (total - bad) * math.log1p(-share)
    )  # fmt: skip
    term = found = math.exp(max(log_first, -700.0))
    for each in range(bad, 0, -1):
        term *= each / (total - each + 1) * (1 - share) / share
        found += term
        if term < found * 1e-12:
            break
    return found
