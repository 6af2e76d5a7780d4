"""What a chaos run is summed up as."""

from collections import Counter
from collections.abc import Sequence

from tests.acceptance.chaos.retries import Hindrance, Sorted
from tests.acceptance.chaos.running import Report

SHOWN = 10
LATE_S = 0.5
SLOW_S = 1.5


def table(report: Report) -> str:
    """A line a fact; of lost and doubled jobs the first few by name."""
    verdict, plan = report.verdict, report.plan
    faults = Counter(f"{fault.kind} {fault.part.partition('-')[0]}" for fault in plan.faults)
    facts = {
        "jobs": f"{verdict.jobs:,} of {plan.jobs:,}, {plan.per_s:g} a second",
        "faults": f"{len(plan.faults)}: " + ", ".join(f"{times} {what}" for what, times in sorted(faults.items())),
        "attempts over HTTP": f"{report.attempts:,}, refused: {dict(report.refusals)}",
        "arrivals": _punctuality(report),
        "gave up": f"{len(report.gave_up):,}",
        "cut off": f"{len(report.retries):,}",
        **{f"  {hindrance}": _retries(hindrance, report.retries) for hindrance in Hindrance},
        "lost": f"{len(verdict.lost):,}",
        "visible twice": f"{len(verdict.doubled):,}",
        "result records": f"{verdict.records:,}: {verdict.repeated:,} repeats, {verdict.repeated / verdict.jobs:.2%}",
        "took": f"{report.took_s:.0f} s",
    }
    lines = [f"{name:<34}  {fact}" for name, fact in facts.items()]
    slow = [_story(each, report.began_s) for each in report.retries if each.waited_s > SLOW_S]
    return "\n".join([*lines, *slow[:SHOWN], *verdict.lost[:SHOWN], *verdict.doubled[:SHOWN], *report.gave_up[:SHOWN]])


def _punctuality(report: Report) -> str:
    late = " (THEY FELL BEHIND: fewer jobs a second, or a quieter machine)" if report.latest_s > LATE_S else ""
    ran, waited = report.clients
    return (
        f"at most {report.latest_s:.2f} s late{late}; the clients' thread had a processor {ran:.0%} of the time, "
        f"and waited for one {waited:.0%}"
    )


def _retries(hindrance: Hindrance, retries: Sequence[Sorted]) -> str:
    """How soon a key was answered with its job once somebody could answer it."""
    those = [each for each in retries if each.hindrance is hindrance]
    if not those:
        return "no requests"
    waited_s = sorted(each.waited_s for each in those)
    p50_s, p99_s = (waited_s[min(len(waited_s) - 1, int(len(waited_s) * share))] for share in (0.5, 0.99))
    figures = f"p50 {p50_s:.2f} s, p99 {p99_s:.2f} s, at most {waited_s[-1]:.2f} s"
    if hindrance is Hindrance.NONE:
        return f"{len(those)} requests, accepted on a retry after {figures}"
    in_all_s = max(each.cut.retried_s for each in those)
    return f"{len(those)} requests, accepted on a retry after {in_all_s:.2f} s at most; since that was over, {figures}"


def _story(retry: Sorted, began_s: float) -> str:
    """A line about a retry that took long: each attempt with its answer, and what was away. Times since the cut."""
    cut = retry.cut
    lost_s = cut.lost_s
    attempts = (
        f"{each.told} by gateway {each.gateway + 1} ({each.asked_s - lost_s:+.2f} to {each.told_s - lost_s:+.2f} s)"
        for each in cut.attempts
    )
    away = (f"{each.part} ({each.from_s - lost_s:+.2f} to {each.until_s - lost_s:+.2f} s)" for each in retry.beside)
    return f"job {cut.job}, at {lost_s - began_s:.1f} s: {', '.join(attempts)}; away: {', '.join(away) or 'nothing'}"
