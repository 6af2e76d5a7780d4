"""Callers differ, and a sticky split gives the canary some of them for good: what they were like before.

A version as good as the stable one looks worse where the callers it got send worse jobs. So the ratio that is held
against it is that of these callers themselves: of how they did, beside the others, on the stable version.
"""

from collections.abc import Mapping
from typing import Final

from schemas.rollouts import Kind
from schemas.stats import FAULTS, Counts, End
from workers.rollout.judging import shares
from workers.rollout.judging.evidence import History, Tally, Tilt

ENOUGH_S: Final = 3600.0
ENOUGH_JOBS: Final = 10_000
# With fewer bad jobs than these, bounds are so far apart that not even a version that fails all jobs is found.
ENOUGH_BAD: Final = 10

INVALID: Final = frozenset({End.INVALID_OUTPUT})
FAILED: Final = FAULTS - INVALID
# What a version is answerable for: not what clients got wrong, canceled, or let expire.
ENDED: Final = FAILED | INVALID | {End.SUCCEEDED}
BAD: Final[Mapping[Kind, frozenset[End]]] = {Kind.FAILED: FAILED, Kind.INVALID_OUTPUT: INVALID}
# What is counted by cohort, and so is known of callers.
_BY_COHORT: Final = frozenset({*BAD, Kind.OUTCOME_BAD})


def history(before: Counts, seconds: float, outcomes: Mapping[int, Tally]) -> History:
    """What the stable version did while it had all of the traffic."""
    found = {kind: by_cohort(before, bad) for kind, bad in BAD.items()}
    return History(seconds, {Kind.OUTCOME_BAD: dict(outcomes), **found})


def by_cohort(counts: Counts, bad: frozenset[End]) -> Mapping[int, Tally]:
    """Jobs that a version is answerable for, and those with such an end."""
    were_bad = counts.by_cohort(bad)
    return {cohort: Tally(jobs, were_bad.get(cohort, 0)) for cohort, jobs in counts.by_cohort(ENDED).items()}


def added(known: Mapping[int, Tally], more: Mapping[int, Tally]) -> Mapping[int, Tally]:
    return {cohort: known.get(cohort, Tally()) + more.get(cohort, Tally()) for cohort in sorted(known.keys() | more)}


def are_unknown(kind: Kind, tilt: Tilt) -> bool:
    """Whether cohorts are all that callers are known by: what they did before is not. See `deals`."""
    return kind in _BY_COHORT and tilt.bad is None


def tilt(known: History, kind: Kind, moved: tuple[int, ...], worse_level: float, better_level: float) -> Tilt:
    """How the callers of the moved cohorts compare with the others. The upper bound fails with a probability of
    `worse_level`, the lower with `better_level`.

    Given how many bad jobs there were, those of the moved cohorts are binomial; their odds, over the odds of the
    jobs, are the ratio of the shares.
    """
    cohorts = known.tallies.get(kind, {})
    everybody = sum(cohorts.values(), Tally())
    theirs = sum((cohorts[cohort] for cohort in moved if cohort in cohorts), Tally())
    is_enough = known.seconds >= ENOUGH_S or everybody.jobs >= ENOUGH_JOBS
    if not is_enough or everybody.bad < ENOUGH_BAD or not 0 < theirs.jobs < everybody.jobs:
        return Tilt()
    odds_of_jobs = theirs.jobs / (everybody.jobs - theirs.jobs)
    return Tilt(
        lower=_odds(shares.lowest(theirs.bad, everybody.bad, better_level)) / odds_of_jobs,
        upper=_odds(shares.highest(theirs.bad, everybody.bad, worse_level)) / odds_of_jobs,
        bad=everybody.bad,
    )


def _odds(share: float) -> float:
    """Bounded, so that evidence stays finite where all or none of the bad jobs were theirs."""
    inside = min(max(share, 1e-6), 1 - 1e-6)
    return inside / (1 - inside)
