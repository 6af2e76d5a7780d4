"""Whether it may be the callers: what other deals of them would have shown.

Where nothing is known of callers, a version that got those who send worse jobs looks worse, the more surely the longer
it is looked at. But which they are is a matter of a hash: as many cohorts, drawn at random, might have been the
canary's instead. If the version is as good as the stable one, its own cohorts stand out among such draws no more often
than by chance (a permutation test, Fisher 1935; of cohorts, as jobs of one caller are alike).
"""

import functools
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.routes import COHORTS
from workers.rollout.judging.eprocess import Array
from workers.rollout.judging.evidence import Tally

DRAWS: Final = 999
# No more than so many draws may show as much. It is looked at again and again: simulated callers pass three times as
# often.
LEVEL: Final = 0.0125


def by_chance(stable: Mapping[int, Tally], canary: Mapping[int, Tally], moved: tuple[int, ...]) -> float:
    """Of deals in which the canary got as many cohorts, the part in which these are as bad beside the others, or worse.

    `moved` are the cohorts that the route gives to the canary. One of which both versions had jobs is of both.
    """
    theirs = sorted(canary.keys() | set(moved))
    others = sorted(stable.keys() | (set(range(COHORTS)) - set(moved)))
    units = [canary.get(each, Tally()) for each in theirs] + [stable.get(each, Tally()) for each in others]
    jobs, bad = (
        np.array(each, dtype=np.float64) for each in zip(*((unit.jobs, unit.bad) for unit in units), strict=True)
    )
    return part_as_bad(jobs, bad, len(theirs))


def part_as_bad(jobs: Array, bad: Array, canary: int) -> float:
    """The same of plain arrays; the canary's are the first of them."""
    draws = _draws(len(jobs), canary)
    found = _worse_by(jobs[draws].sum(axis=1), bad[draws].sum(axis=1), jobs.sum(), bad.sum())
    return float((found >= found[0] - 1e-9).mean())


@functools.lru_cache(maxsize=64)
def _draws(units: int, canary: int) -> NDArray[np.intp]:
    """So many of the units: the first, then as they come by chance, or where it is one, each. Always the same draws, so
    that a verdict can be made again."""
    if canary == 1:
        return np.arange(units)[:, None]
    drawn = np.random.default_rng(1).random((DRAWS, units)).argpartition(canary - 1, axis=1)[:, :canary]
    return np.concatenate([np.arange(canary)[None], drawn])


def _worse_by(jobs: Array, bad: Array, all_jobs: float, all_bad: float) -> Array:
    """How much likelier what these have and what the others have is with a share of bad jobs for each than with one for
    both; 0 where these are the better ones."""
    others, others_bad = all_jobs - jobs, all_bad - bad
    found = _log(bad, jobs) + _log(others_bad, others) - _log(np.array(all_bad), np.array(all_jobs))
    return np.where(bad * others > others_bad * jobs, found, 0.0)


def _log(bad: Array, jobs: Array) -> Array:
    """The log of the likelihood of so many bad ones, at their own share."""
    return _times_log(bad, jobs) + _times_log(jobs - bad, jobs)


def _times_log(part: Array, whole: Array) -> Array:
    found: Array = part * np.log(np.where(part > 0, part, 1.0) / np.where(part > 0, whole, 1.0))
    return found
