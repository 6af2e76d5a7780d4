"""The judge's doors: begin, observe, the next step; verdict and explain. Pure.

    evidence = begin(guardrails, now, before, before_s)      # at the start, and at each retry
    evidence = observe(evidence, interval)                   # every interval, in order; twice is once
    found = verdict(evidence, now, interval_s)               # as often as one likes
    evidence = next_step(evidence)                           # when the share was changed

The tests, their assumptions and their sources stand in docs/statistics.md.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np

from schemas.rollouts import Guardrail, Kind
from schemas.stats import NOTHING, Counts
from workers.rollout.judging import callers, eprocess, exposures, ratio, shares, slowness
from workers.rollout.judging.evidence import (
    Evidence,
    Exposures,
    Interval,
    KindEvidence,
    SlowLines,
    Tally,
    Tilt,
)
from workers.rollout.judging.rules import ALPHA, SLACK, Levels, Rule, levels, rule
from workers.rollout.judging.verdicts import Hold, explain, verdict

__all__ = ["Hold", "begin", "explain", "next_step", "observe", "verdict"]

# From this share of bad jobs on, an interval is judged as a block: known from so many jobs at least.
FREQUENT: Final = 0.1
KNOWN_FROM: Final = 100
_NO_OUTCOMES: Final[Mapping[int, Tally]] = MappingProxyType({})

# Of each class of what is compared: the stable version's and the canary's.
Pairs = list[tuple[Tally, Tally]]


def begin(
    guardrails: Iterable[Guardrail],
    now: datetime,
    before: Counts = NOTHING,
    before_s: float = 0.0,
    outcomes_before: Mapping[int, Tally] = _NO_OUTCOMES,
    *,
    weighs: bool = False,
) -> Evidence:
    """Evidence of a rollout that starts now.

    `before` is what the stable version did in the `before_s` seconds in which it had all of the traffic: used from an
    hour or 10,000 jobs on. The lines above which runs are slow are taken from it too.
    """
    rules = tuple(rule(guardrail) for guardrail in guardrails)
    return Evidence(
        rules=rules,
        alpha=ALPHA,
        began_at=now,
        kinds={each.kind: KindEvidence() for each in rules},
        history=callers.history(before, before_s, outcomes_before),
        slow=slowness.learned(SlowLines(), before),
        weighs=weighs,
    )


def observe(evidence: Evidence, interval: Interval) -> Evidence:
    """The same with one more interval. One that ended no later than the last, or is empty, changes nothing.

    In the first interval of a step, runs still warm up and jobs still come by the share before: it counts for neither
    `slow` nor the check of the split.
    """
    is_old = evidence.last_at is not None and interval.ended_at <= evidence.last_at
    if is_old or not _has_anything(interval):
        return evidence
    is_first = evidence.intervals == 0
    kinds = {
        each.kind: _by_cohort(
            each.kind, _observed(each, evidence, _pairs(each.kind, evidence, interval), interval.moved), interval
        )
        for each in evidence.rules
    }
    return msgspec.structs.replace(
        evidence,
        moved=interval.moved,
        share=interval.share,
        intervals=evidence.intervals + 1,
        last_at=interval.ended_at,
        kinds=kinds,
        exposures=evidence.exposures if is_first else exposures.exposed(evidence.exposures, interval),
        slow=evidence.slow if is_first else slowness.learned(evidence.slow, interval.stable),
    )


def next_step(evidence: Evidence) -> Evidence:
    """The share was changed: counts and proofs of the step begin anew, those against the version go on."""
    return msgspec.structs.replace(
        evidence,
        step=evidence.step + 1,
        intervals=0,
        kinds={
            kind: msgspec.structs.replace(
                known,
                stable=Tally(),
                canary=Tally(),
                waiting=Tally(),
                earlier_stable=known.earlier_stable + known.stable,
                earlier_canary=known.earlier_canary + known.canary,
                better=(),
                stable_by={},
                canary_by={},
            )
            for kind, known in evidence.kinds.items()
        },
        exposures=Exposures(),
    )


def _has_anything(interval: Interval) -> bool:
    told = interval.stable_outcomes or interval.canary_outcomes or interval.compared.jobs
    return bool(told or interval.stable.everything or interval.canary.everything)


def _pairs(kind: Kind, evidence: Evidence, interval: Interval) -> Pairs:
    """What the interval holds of a kind, by classes that are compared each for itself."""
    if kind is Kind.SLOW:
        is_first = evidence.intervals == 0
        return [] if is_first else slowness.classes(evidence.slow, interval.stable, interval.canary)
    if kind is Kind.DISAGREE:
        return [(Tally(), interval.compared)]
    if kind is Kind.OUTCOME_BAD:
        sides = (interval.stable_outcomes, interval.canary_outcomes)
        stable, canary = (sum(each.values(), Tally()) for each in sides)
        return [(stable, canary)]
    both = (interval.stable, interval.canary)
    stable, canary = (Tally(each.jobs(callers.ENDED), each.jobs(callers.BAD[kind])) for each in both)
    return [(stable, canary)]


def _observed(each: Rule, evidence: Evidence, pairs: Pairs, moved: tuple[int, ...]) -> KindEvidence:
    known = evidence.kinds[each.kind]
    if evidence.intervals == 0 or moved != evidence.moved:
        at = levels(evidence.rules, evidence.alpha)
        known = msgspec.structs.replace(known, tilt=_tilt(each.kind, evidence, moved, at))
    stable = sum((pair[0] for pair in pairs), Tally())
    canary = sum((pair[1] for pair in pairs), Tally())
    after = msgspec.structs.replace(known, stable=known.stable + stable, canary=known.canary + canary)
    if canary.jobs:
        found = shares.above(canary.jobs, canary.bad, each.floor)
        after = msgspec.structs.replace(after, above=known.above.grown(found))
    if each.margin is None:
        return after
    if canary.jobs and not stable.jobs:
        return msgspec.structs.replace(after, waiting=known.waiting + canary)
    if known.waiting.jobs:
        pairs = [(stable, canary + known.waiting)]
    return _bet(after, known, pairs, each.margin)


def _by_cohort(kind: Kind, after: KindEvidence, interval: Interval) -> KindEvidence:
    """With what the interval holds by cohort, where that is all that callers are known by. What was before it began to
    look bad would hide a version that turned bad; but what waits may be what makes it look so."""
    if not callers.are_unknown(kind, after.tilt):
        return after
    if after.worse.log_value <= 0 and not after.waiting.jobs:
        return msgspec.structs.replace(after, stable_by={}, canary_by={})
    stable, canary = _sides_by_cohort(kind, interval)
    return msgspec.structs.replace(
        after, stable_by=callers.added(after.stable_by, stable), canary_by=callers.added(after.canary_by, canary)
    )


def _sides_by_cohort(kind: Kind, interval: Interval) -> tuple[Mapping[int, Tally], Mapping[int, Tally]]:
    if kind is Kind.OUTCOME_BAD:
        return interval.stable_outcomes, interval.canary_outcomes
    bad = callers.BAD[kind]
    return callers.by_cohort(interval.stable, bad), callers.by_cohort(interval.canary, bad)


def _bet(after: KindEvidence, known: KindEvidence, pairs: Pairs, margin: float) -> KindEvidence:
    """With what the pairs say of the ratio. What was known before tells how to bet."""
    if not any(stable.jobs and canary.jobs for stable, canary in pairs):
        return after
    worse = _compared(known, pairs, margin * known.tilt.upper, ratio.WORSE)
    better = _compared(known, pairs, margin * SLACK * known.tilt.lower, ratio.BETTER)
    so_far = np.array(known.better or np.zeros(len(ratio.BETTER)))
    return msgspec.structs.replace(
        after, worse=known.worse.grown(worse), better=tuple(map(float, so_far + better)), waiting=Tally()
    )


def _tilt(kind: Kind, evidence: Evidence, moved: tuple[int, ...], at: Levels) -> Tilt:
    """Bounds of all steps together have to hold: the k-th gets 1/(k(k+1)) of what may fail, which adds up to 1."""
    part = 1 / (evidence.step * (evidence.step + 1))
    return callers.tilt(evidence.history, kind, moved, at.worse / 2 * part, at.better / 2)


def _compared(known: KindEvidence, pairs: Pairs, margin: float, factors: eprocess.Array) -> eprocess.Array:
    """The log likelihood ratios of an interval, of all its classes together."""
    stable = known.earlier_stable + known.stable
    expected = (stable.bad + 0.5) / (stable.jobs + 1)
    as_block = expected > FREQUENT and stable.jobs >= KNOWN_FROM
    found = np.zeros(len(factors))
    for ours, theirs in pairs:
        sides = ratio.Sides(*(np.asarray(float(each)) for each in (ours.jobs, ours.bad, theirs.jobs, theirs.bad)))
        if as_block:
            found = found + ratio.frequent(sides, margin, factors, expected)
        else:
            found = found + ratio.rare(sides, margin, factors)
    return found
