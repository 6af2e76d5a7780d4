"""Whether the split is delivered as the route says: else what is compared is not what was meant to be."""

from math import ceil, log
from typing import Final

from schemas import bounds
from workers.rollout.judging import shares
from workers.rollout.judging.callers import ENDED
from workers.rollout.judging.evidence import Exposures, Interval

# A false alarm in a thousand steps: it only holds.
LEVEL: Final = 0.001
# So many of the moved cohorts may still be served by the stable version, by jobs that waited since before the step.
ASTRAY: Final = 0.1
# Once a mismatch was found, so many of the moved cohorts in a row that are served as routed say that it is over: if one
# in ten were astray still, that would come once in a hundred times.
RIGHT_AGAIN: Final = ceil(log(0.01) / log(1 - ASTRAY))
# So many jobs of the canary are missing in a row.
SILENT: Final = 20
# The bet on other shares is spread as if the route's share had been seen in so many exposures: from a half of it to
# twice as much.
_SPREAD: Final = 20.0


def exposed(before: Exposures, interval: Interval) -> Exposures:
    """With what one interval adds. A cohort counts once a step, whatever jobs it has: a heavy key is no mismatch.

    A check that has found a mismatch begins anew when that is over. Its evidence alone would stand for many times as
    long, and cohorts that were first served by the wrong version for the whole step.
    """
    after = _added(before, interval)
    is_over = after.kept_since >= RIGHT_AGAIN and is_mismatch(after, interval.share)
    return Exposures(silent=after.silent) if is_over else after


def _added(before: Exposures, interval: Interval) -> Exposures:
    stable = interval.stable.by_cohort(ENDED).keys()
    canary = interval.canary.by_cohort(ENDED).keys()
    known = set(before.seen)
    whole = set(interval.moved_whole)
    kept, astray = len(whole & canary - stable), len(whole & stable)
    is_wrong = astray > 0 or bool(canary - set(interval.moved))
    wrong = before.wrong
    if kept + astray:
        wrong = wrong.grown(shares.above(kept + astray, astray, ASTRAY))
    return Exposures(
        stable=before.stable + len(stable - canary - known),
        canary=before.canary + len(canary - known),
        seen=tuple(sorted(known | stable | canary)),
        kept=before.kept + kept,
        astray=before.astray + astray,
        wrong=wrong,
        silent=0 if canary else before.silent + interval.stable.jobs(ENDED),
        kept_since=kept if is_wrong else before.kept_since + kept,
    )


def log_mismatch(exposures: Exposures, share: float) -> float:
    """The log of the evidence that the canary's share of first exposures is another one than the route's (Lindon and
    Malek 2022: a Dirichlet bet, here of two parts). Valid at any time."""
    if not 0 < share < 1:
        return 0.0
    total = exposures.stable + exposures.canary
    return bounds.log_evidence(exposures.canary, total, share, (_SPREAD * share, _SPREAD * (1 - share)))


def is_mismatch(exposures: Exposures, share: float) -> bool:
    return max(log_mismatch(exposures, share), exposures.wrong.log_value) >= -log(LEVEL)


def is_silent(exposures: Exposures, share: float) -> bool:
    """Whether the canary would have had jobs by now if it served any."""
    return share < 1 and exposures.silent * share / (1 - share) >= SILENT
