"""Thompson sampling of two versions, for the shares of a route: never for a job, or callers would change versions.

Sampled from what is known of both, a version is the better one with some probability (Thompson 1933). That is what its
share goes to, here worked out instead of sampled: the same outcomes always give the same share.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.rollouts import Decision, Finding, Kind
from schemas.routes import WHOLE
from workers.rollout.judging.evidence import Evidence, Tally

# So much of the traffic each version keeps, so that a change is noticed; and so far a share goes at once.
FLOOR: Final = 0.01
MAX_STEP: Final = 0.10
# With fewer outcomes of one of them nothing follows: two versions of which nobody knows anything would share evenly.
ENOUGH_OUTCOMES: Final = 30
# A version that has come to all but the floor, step by step, and is the better one so surely, is promoted.
SURE: Final = 0.99
# Shares are whole percents, so that no cohort is split.
_WHOLE_PERCENT: Final = WHOLE // 100
_POINTS: Final = 2001
_DEVIATIONS: Final = 9.0


class Weight(NamedTuple):
    """What share follows from outcomes, in basis points: None where these are too few. `better` is the probability that
    the version is the better one."""

    stable: Tally
    canary: Tally
    better: float
    share: int | None

    @property
    def is_sure(self) -> bool:
        """Whether the version has won, once it has this share."""
        return self.share == round((1 - FLOOR) * WHOLE) and self.better >= SURE


def weigh(evidence: Evidence) -> Weight:
    """By Beta(1, 1) priors and all outcomes since the rollout began, or was retried."""
    known = evidence.kinds[Kind.OUTCOME_BAD]
    stable, canary = known.earlier_stable + known.stable, known.earlier_canary + known.canary
    if min(stable.jobs, canary.jobs) < ENOUGH_OUTCOMES:
        return Weight(stable, canary, 0.5, None)
    better = chance_better(stable, canary)
    wanted = FLOOR + (1 - 2 * FLOOR) * better
    moved = evidence.share + min(MAX_STEP, max(-MAX_STEP, wanted - evidence.share))
    return Weight(stable, canary, better, round(moved * WHOLE / _WHOLE_PERCENT) * _WHOLE_PERCENT)


def finding(found: Weight, share: float) -> Finding:
    """`share` is the version's now, 0 to 1."""
    counted = f"{found.canary.bad:,} of {found.canary.jobs:,} outcomes bad"
    against = f"stable {found.stable.bad:,} of {found.stable.jobs:,}"
    if found.share is None:
        follows = f"too few: {ENOUGH_OUTCOMES} of each version are needed"
    else:
        follows = f"better with a probability of {found.better:.3f}; {100 * share:g} % to {found.share / 100:g} %"
    return Finding(
        kind="weight",
        decision=Decision.HOLD,
        told=f"weight: {counted}, {against}: {follows}",
        numbers={"better": found.better, "share": 100 * share, "next_share": found.share and found.share / 100},
    )


def chance_better(stable: Tally, canary: Tally) -> float:
    """The probability that the canary's share of bad outcomes is the lower one: the integral of its density, times the
    probability that the stable version's share is above."""
    places = np.unique(np.concatenate([_around(stable), _around(canary)]))
    density, other = (_density(tally, places) for tally in (canary, stable))
    widths = np.diff(places)
    up_to = np.concatenate([[0.0], np.cumsum((other[1:] + other[:-1]) / 2 * widths)])
    above = density * (1 - up_to / up_to[-1])
    whole, part = (float(np.sum((each[1:] + each[:-1]) / 2 * widths)) for each in (density, above))
    return min(1.0, max(0.0, part / whole))


def _around(tally: Tally) -> NDArray[np.float64]:
    """Places where the density of the share is worth looking at."""
    bad, good = 1 + tally.bad, 1 + tally.jobs - tally.bad
    mean = bad / (bad + good)
    deviation = math.sqrt(mean * (1 - mean) / (bad + good + 1))
    least, most = mean - _DEVIATIONS * deviation, mean + _DEVIATIONS * deviation
    return np.linspace(max(1e-12, least), min(1 - 1e-12, most), _POINTS)


def _density(tally: Tally, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Not normalized; at most 1."""
    logs = tally.bad * np.log(places) + (tally.jobs - tally.bad) * np.log1p(-places)
    found: NDArray[np.float64] = np.exp(logs - logs.max())
    return found
