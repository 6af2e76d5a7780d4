"""What one guardrail says of the evidence: a decision, its numbers, and a line for people."""

import math
from typing import Final, NamedTuple

import numpy as np

from schemas import bounds
from schemas.ratios import mean_log
from schemas.rollouts import Decision, Finding, Kind
from workers.rollout.judging import callers, deals, shares
from workers.rollout.judging.evidence import Evidence, KindEvidence, Tally
from workers.rollout.judging.rules import SLACK, Rule, levels

_WHAT: Final = {
    Kind.FAILED: "jobs",
    Kind.INVALID_OUTPUT: "jobs",
    Kind.OUTCOME_BAD: "outcomes",
    Kind.SLOW: "runs",
    Kind.DISAGREE: "compared jobs",
}
# No caller sends jobs of which more than half fail by themselves, or hardly any.
MOST_OF_CALLERS: Final = 0.5
# Above it only the size of evidence matters to a reader.
_MILLION: Final = math.log(1e6)


class _Sums(NamedTuple):
    """Logs of what evidence has become and of what it takes; and the upper bound of the canary's share in this step."""

    worse: float
    worse_needed: float
    above: float
    above_needed: float
    better: float
    better_needed: float
    upper: float
    by_chance: float | None = None

    @property
    def is_worse(self) -> bool:
        """By how often its jobs are bad, whoever sends them."""
        return self.worse >= self.worse_needed and self.above >= self.above_needed

    @property
    def may_be_callers(self) -> bool:
        return self.by_chance is not None and self.by_chance > deals.LEVEL


def finding(evidence: Evidence, rule: Rule) -> Finding:
    known, sums = evidence.kinds[rule.kind], _sums(evidence, rule)
    decision = _decision(rule, sums)
    return Finding(
        kind=rule.kind,
        decision=decision,
        told=f"{rule.kind}: {_counted(rule, known)}: {_reason(evidence, rule, known, sums, decision)}",
        dry_run=rule.dry_run,
        numbers=_numbers(known, sums),
    )


def is_too_few(evidence: Evidence, rule: Rule) -> bool:
    """Whether even without any bad one so few could not show that the version is good enough."""
    return evidence.kinds[rule.kind].canary.jobs < _enough(evidence, rule)


def _enough(evidence: Evidence, rule: Rule) -> int:
    return shares.fewest_without_fault(rule.limit, levels(evidence.rules, evidence.alpha).better)


def _sums(evidence: Evidence, rule: Rule) -> _Sums:
    known, at = evidence.kinds[rule.kind], levels(evidence.rules, evidence.alpha)
    # Where callers' differences are known, half of what may go wrong is that their bounds are wrong.
    parts = 1 if known.tilt.bad is None else 2
    better = float(mean_log(np.array(known.better))) if known.better else 0.0
    sums = _Sums(
        worse=known.worse.log_value,
        worse_needed=math.log(parts / at.worse),
        above=known.above.log_value,
        above_needed=math.log(1 / at.worse),
        better=better,
        better_needed=math.log(parts / at.better),
        upper=bounds.upper(known.canary.bad, known.canary.jobs, at.better),
    )
    return sums._replace(by_chance=_by_chance(evidence, rule.kind, at.worse)) if sums.is_worse else sums


def _by_chance(evidence: Evidence, kind: Kind, level: float) -> float | None:
    """See `deals`; None where it is not for these to say, or the canary surely fails more than any caller's own jobs
    would."""
    known = evidence.kinds[kind]
    if not callers.are_unknown(kind, known.tilt):
        return None
    canary = sum(known.canary_by.values(), Tally())
    if bounds.lower(canary.bad, canary.jobs, level) > MOST_OF_CALLERS:
        return None
    return deals.by_chance(known.stable_by, known.canary_by, evidence.moved)


def _decision(rule: Rule, sums: _Sums) -> Decision:
    if sums.is_worse if rule.margin is not None else sums.above >= sums.above_needed:
        return Decision.HOLD if sums.may_be_callers else Decision.ROLLBACK
    is_better = rule.margin is not None and sums.better >= sums.better_needed
    if is_better or sums.upper < rule.limit:
        return Decision.PROMOTE
    return Decision.HOLD


def _counted(rule: Rule, known: KindEvidence) -> str:
    canary = known.earlier_canary + known.canary
    told = _share(known.canary, _WHAT[rule.kind])
    if known.earlier_canary.jobs:
        told += f" in this step, {_share(canary, _WHAT[rule.kind])} in all"
    return told if rule.margin is None else f"{told}, stable {_share(known.stable, '')}".rstrip()


def _share(tally: Tally, what: str) -> str:
    share = f" ({_percent(tally.bad / tally.jobs)})" if tally.jobs else ""
    return f"{tally.bad:,} of {tally.jobs:,} {what}".rstrip() + share


def _reason(evidence: Evidence, rule: Rule, known: KindEvidence, sums: _Sums, decision: Decision) -> str:
    if decision is Decision.ROLLBACK:
        return _why_back(rule, known, sums)
    if decision is Decision.PROMOTE:
        return _why_on(rule, known, sums)
    if rule.kind is Kind.SLOW and not known.canary.jobs:
        return "no runs of a size that both versions have, and that the stable version had enough runs of before"
    worse = _why_not_back(rule, sums)
    if is_too_few(evidence, rule):
        return f"{worse}too few to tell that it is good; {_enough(evidence, rule):,} without a bad one would do"
    better = "" if rule.margin is None else f"{_of(sums.better, sums.better_needed)}; "
    limit = f"at most {_percent(sums.upper)}, limit {_percent(rule.limit)}"
    return f"{worse}not surely good enough ({better}{limit}){_tilted(known)}"


def _why_back(rule: Rule, known: KindEvidence, sums: _Sums) -> str:
    if rule.margin is None:
        return f"surely above {_percent(rule.floor)} ({_of(sums.above, sums.above_needed)})"
    worse = f"surely more than {rule.margin:g} times as often ({_of(sums.worse, sums.worse_needed)})"
    dealt = "" if sums.by_chance is None else f"; {_dealt(sums)}"
    return f"{worse}, and above {_percent(rule.floor)}{_tilted(known)}{dealt}"


def _why_not_back(rule: Rule, sums: _Sums) -> str:
    """The first thing that a rollback still lacks."""
    if rule.margin is None:
        return ""
    if sums.worse < sums.worse_needed:
        return f"not surely worse ({_of(sums.worse, sums.worse_needed)}), "
    often = f"surely more than {rule.margin:g} times as often ({_of(sums.worse, sums.worse_needed)})"
    if sums.may_be_callers:
        return f"{often}, but that may be its callers' doing: {_dealt(sums)}; "
    return f"{often}, but not surely above {_percent(rule.floor)} ({_of(sums.above, sums.above_needed)}), "


def _dealt(sums: _Sums) -> str:
    share, most = _percent(sums.by_chance or 0.0), _percent(deals.LEVEL)
    return (
        f"of what callers did before nothing is known, and {share} of other deals of them show as much (at most {most})"
    )


def _why_on(rule: Rule, known: KindEvidence, sums: _Sums) -> str:
    if sums.upper < rule.limit:
        return f"surely below {_percent(rule.limit)} (at most {_percent(sums.upper)})"
    margin = (rule.margin or 1.0) * SLACK
    return f"surely less than {margin:.3g} times as often ({_of(sums.better, sums.better_needed)}){_tilted(known)}"


def _tilted(known: KindEvidence) -> str:
    tilt = known.tilt
    if tilt.bad is None:
        return ""
    between = f"{tilt.lower:.2g} to {tilt.upper:.2g}"
    return f"; before, these callers had {between} times as many as others (from {tilt.bad:,} bad ones)"


def _of(log_evidence: float, log_needed: float) -> str:
    found = f"10^{log_evidence / math.log(10):.0f}" if log_evidence > _MILLION else f"{math.exp(log_evidence):.2g}"
    return f"evidence {found}, {math.exp(log_needed):.0f} needed"


def _percent(share: float) -> str:
    return f"{100 * share:.{2 if share < 0.995 else 3}g} %"


def _numbers(known: KindEvidence, sums: _Sums) -> dict[str, float | None]:
    """Logs are to base 10."""
    ten = math.log(10)
    return {
        "jobs": known.canary.jobs,
        "bad": known.canary.bad,
        "stable_jobs": known.stable.jobs,
        "stable_bad": known.stable.bad,
        "upper": sums.upper,
        "log_worse": sums.worse / ten,
        "log_worse_needed": sums.worse_needed / ten,
        "log_above_floor": sums.above / ten,
        "log_above_floor_needed": sums.above_needed / ten,
        "log_better": sums.better / ten,
        "log_better_needed": sums.better_needed / ten,
        "callers_lower": known.tilt.lower,
        "callers_upper": known.tilt.upper,
        "callers_known_from": known.tilt.bad,
        "callers_by_chance": sums.by_chance,
    }
