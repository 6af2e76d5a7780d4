"""The judge's four doors: begin, observe, the next step, and the verdict. Pure; docs/statistics.md has the reasons.

evidence = begin(guardrails, now, before, before_s)      # at the start, and at each retry
evidence = observe(evidence, interval)                   # every interval, in order; twice is once
found = verdict(evidence, now, interval_s)               # as often as one likes
evidence = next_step(evidence)                           # when the share was changed
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from schemas.rollouts import Guardrail, Verdict
from schemas.stats import Counts
from workers.rollout.judging.evidence import NO_COUNTS, Evidence, Interval, Tally
from workers.rollout.judging.rules import ALPHA


class Hold(StrEnum):
    """Why a rollout neither goes on nor back. Of several the first is told."""

    PAUSED = "paused"
    STATS_STALE = "stats_stale"  # nothing was counted for more than three intervals
    NO_WORKERS = "no_workers"  # none serves the canary
    NO_TRAFFIC = "no_traffic"  # the canary had no job in this step
    SRM = "srm"  # the split is not delivered as the route says
    TOO_FEW = "too_few"  # even a version without fault could not be told by so few jobs
    INCONCLUSIVE = "inconclusive"


def begin(
    guardrails: Iterable[Guardrail],
    now: datetime,
    before: Counts = NO_COUNTS,
    before_s: float = 0.0,
    outcomes_before: Mapping[int, Tally] | None = None,
    alpha: float = ALPHA,
) -> Evidence:
    """Evidence of a rollout that starts now.

    `before` is what the stable version did in the `before_s` seconds in which it had all of the traffic: used from one
    hour or 10,000 jobs on, and from it the lines above which runs are slow.
    """
    raise NotImplementedError


def observe(evidence: Evidence, interval: Interval) -> Evidence:
    """The same with one more interval. One that ended no later than the last changes nothing."""
    raise NotImplementedError


def next_step(evidence: Evidence) -> Evidence:
    """The share was changed: counts and proofs of the step begin anew, those against the version go on."""
    raise NotImplementedError


def verdict(
    evidence: Evidence, now: datetime, interval_s: float, *, paused: bool = False, workers: int | None = None
) -> Verdict:
    """`rollback` if the version is surely worse, `promote` if it is surely not and nothing speaks against it, else `hold`
    with the reason, a `Hold`. `workers`: how many serve the canary, where that is known. Sequential: valid however often
    and whenever it is asked. It does not look at the step's time."""
    raise NotImplementedError


def explain(evidence: Evidence, found: Verdict) -> list[str]:
    """The verdict in lines for people, with the numbers it is made of."""
    raise NotImplementedError
