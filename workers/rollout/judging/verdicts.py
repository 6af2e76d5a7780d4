"""The verdict on a rollout, from its evidence, and what is told of it."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from schemas.rollouts import Decision, Finding, Verdict
from schemas.routes import WHOLE
from workers.rollout.judging import bandit, exposures, findings
from workers.rollout.judging.evidence import Around, Evidence

# After so many intervals without any count nothing is promoted.
STALE_INTERVALS: Final = 3
# The reason of a promotion.
PROVEN: Final = "proven"


class Hold(StrEnum):
    """Why a rollout neither goes on nor back. Of several the first is told."""

    PAUSED = "paused"  # an operator holds the jobs of one of the versions
    NO_WORKERS = "no_workers"  # none serves the canary
    STATS_STALE = "stats_stale"  # nothing was counted for more than three intervals, or a clock is wrong
    NO_TRAFFIC = "no_traffic"  # the canary had no job in this step, or none where it should have had many
    SRM = "srm"  # the split is not delivered as the route says
    TOO_FEW = "too_few"  # so few jobs tell nothing of even a version without fault
    INCONCLUSIVE = "inconclusive"
    WEIGHED = "weighed"  # nothing speaks against the share that follows from outcomes


def verdict(evidence: Evidence, now: datetime, interval_s: float) -> Verdict:
    """`rollback` if the version is surely worse, `promote` if it is surely not and nothing speaks against that, else
    `hold` with the reason, a `Hold`.

    Sequential: valid however often it is asked. It does not look at the step's time.
    """
    found = tuple(findings.finding(evidence, rule) for rule in evidence.rules)
    for each in found:
        if each.decision is Decision.ROLLBACK and not each.dry_run:
            return Verdict(Decision.ROLLBACK, each.kind, found)
    in_the_way = _in_the_way(evidence, now, interval_s)
    if evidence.weighs:
        return _weighed(evidence, found, in_the_way)
    in_the_way = in_the_way or _open(evidence, found)
    if in_the_way is not None:
        return Verdict(Decision.HOLD, in_the_way, found, _told(in_the_way, evidence.around))
    return Verdict(Decision.PROMOTE, PROVEN, found)


def _weighed(evidence: Evidence, found: tuple[Finding, ...], in_the_way: Hold | None) -> Verdict:
    """Guardrails have nothing against the version, or know too little of it: outcomes say what its share is to be."""
    weight = bandit.weigh(evidence)
    told = (*found, bandit.finding(weight, evidence.share))
    if in_the_way is not None:
        return Verdict(Decision.HOLD, in_the_way, told, _told(in_the_way, evidence.around))
    if weight.share is None:
        return Verdict(Decision.HOLD, Hold.TOO_FEW, told)
    if weight.is_sure and round(evidence.share * WHOLE) == weight.share:
        return Verdict(Decision.PROMOTE, PROVEN, told)
    return Verdict(Decision.HOLD, Hold.WEIGHED, told, share=weight.share)


def explain(evidence: Evidence, now: datetime, interval_s: float) -> list[str]:
    """The verdict made again, in lines for people, with the numbers that it comes from."""
    found = verdict(evidence, now, interval_s)
    since = "nothing counted yet" if evidence.last_at is None else f"counted until {evidence.last_at:%Y-%m-%d %H:%M:%S}"
    return [
        f"{found.decision}: {found.reason}{f' ({found.told})' if found.told else ''}",
        f"step {evidence.step}, {100 * evidence.share:g} % of the traffic, {evidence.intervals} intervals, {since}",
        *(f"{each.told}{' (dry run)' if each.dry_run else ''}" for each in found.evidence),
        _split_told(evidence),
    ]


def _in_the_way(evidence: Evidence, now: datetime, interval_s: float) -> Hold | None:
    """What no guardrail knows."""
    is_old = now - (evidence.last_at or evidence.began_at) > timedelta(seconds=STALE_INTERVALS * interval_s)
    return _around(evidence.around, is_old) or _in_the_counts(evidence)


def _around(around: Around, is_old: bool) -> Hold | None:
    if around.is_overtaken:
        return Hold.SRM
    if around.held is not None:
        return Hold.PAUSED
    if around.workers == 0:
        return Hold.NO_WORKERS
    return Hold.STATS_STALE if is_old or around.clock is not None else None


def _in_the_counts(evidence: Evidence) -> Hold | None:
    if not any(known.canary.jobs for known in evidence.kinds.values()):
        return Hold.NO_TRAFFIC
    if exposures.is_silent(evidence.exposures, evidence.share):
        return Hold.NO_TRAFFIC
    return Hold.SRM if exposures.is_mismatch(evidence.exposures, evidence.share) else None


def _told(hold: Hold, around: Around) -> str:
    """What the reason alone does not say."""
    if hold is Hold.SRM and around.is_overtaken:
        written, followed = around.written, around.followed
        return f"gateways go by revision {followed} of the route, and the rollout has written {written}: abort it"
    if hold is Hold.PAUSED:
        return around.held or ""
    return around.clock or "" if hold is Hold.STATS_STALE else ""


def _open(evidence: Evidence, found: tuple[Finding, ...]) -> Hold | None:
    """What is still to be shown, of each rule by its finding: too few jobs come before those that are not enough."""
    each_rule = zip(evidence.rules, found, strict=True)
    holding = [rule for rule, each in each_rule if each.decision is Decision.HOLD and not rule.dry_run]
    if not holding:
        return None
    is_few = any(findings.is_too_few(evidence, rule) for rule in holding)
    return Hold.TOO_FEW if is_few else Hold.INCONCLUSIVE


def _split_told(evidence: Evidence) -> str:
    split = evidence.exposures
    astray = (
        f"{split.astray} of {split.astray + split.kept} moved cohorts (an interval each) still with the stable version"
    )
    first = f"{split.canary} of {split.canary + split.stable} cohorts first served by the canary"
    return f"split, by cohorts and not by keys: {first}; {astray}"
