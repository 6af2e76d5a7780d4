"""Intervals of a rollout to judge."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from schemas.rollouts import Guardrail, Kind, Verdict
from schemas.stats import Counts, End
from workers.rollout.judging.evidence import Evidence, Interval
from workers.rollout.judging.judge import begin, observe, verdict

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL_S = 5.0
STABLE, CANARY = range(95), range(95, 100)
FAILED = (Guardrail(Kind.FAILED),)


def counts(jobs: int, bad: int = 0, cohorts: Sequence[int] = STABLE, end: End = End.FAILED) -> Counts:
    """So many jobs, the bad ones among them, spread over the cohorts."""
    ends = {End.SUCCEEDED: _spread(jobs - bad, cohorts), end: _spread(bad, cohorts)}
    return Counts(ends={each: spread for each, spread in ends.items() if spread})


def _spread(jobs: int, cohorts: Sequence[int]) -> dict[int, int]:
    each, more = divmod(jobs, len(cohorts))
    spread = {cohort: each + (at < more) for at, cohort in enumerate(cohorts)}
    return {cohort: jobs for cohort, jobs in spread.items() if jobs}


def interval(at: int, stable: Counts, canary: Counts, share: int = 500) -> Interval:
    """The `at`-th after the rollout's beginning. The canary is version 2, and so has the last of the cohorts."""
    ended_at = BEGAN + timedelta(seconds=INTERVAL_S * at)
    return Interval(
        ended_at=ended_at, shares={"1": 10_000 - share, "2": share}, version="2", stable=stable, canary=canary
    )


def after(
    pairs: Iterable[tuple[Counts, Counts]], evidence: Evidence | None = None, guardrails: Iterable[Guardrail] = FAILED
) -> Evidence:
    """Evidence with these intervals more: of the stable version and of the canary."""
    known = begin(guardrails, BEGAN) if evidence is None else evidence
    first = 0 if known.last_at is None else round((known.last_at - BEGAN).total_seconds() / INTERVAL_S)
    for at, (stable, canary) in enumerate(pairs, first + 1):
        known = observe(known, interval(at, stable, canary))
    return known


def judged(evidence: Evidence) -> Verdict:
    """Just after the last interval."""
    return verdict(evidence, evidence.last_at or BEGAN, INTERVAL_S)
