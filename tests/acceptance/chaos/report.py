"""What a chaos run is summed up as."""

from collections import Counter
from collections.abc import Sequence

from tests.acceptance.chaos.load import Cut
from tests.acceptance.chaos.running import Report

SHOWN = 10
LATE_S = 0.5


def table(report: Report) -> str:
    """A line a fact; of lost and doubled jobs the first few by name."""
    verdict, plan = report.verdict, report.plan
    faults = Counter(f"{fault.kind} {fault.part.partition('-')[0]}" for fault in plan.faults)
    facts = {
        "jobs": f"{verdict.jobs:,} of {plan.jobs:,}, {plan.per_s:g} a second",
        "faults": f"{len(plan.faults)}: " + ", ".join(f"{times} {what}" for what, times in sorted(faults.items())),
        "attempts over HTTP": f"{report.attempts:,}, refused: {dict(report.refusals)}",
        "arrivals": _punctuality(report.latest_s),
        "gave up": f"{len(report.gave_up):,}",
        "cut off": _retries(report.cuts),
        "lost": f"{len(verdict.lost):,}",
        "visible twice": f"{len(verdict.doubled):,}",
        "result records": f"{verdict.records:,}: {verdict.repeated:,} repeats, {verdict.repeated / verdict.jobs:.2%}",
        "took": f"{report.took_s:.0f} s",
    }
    lines = [f"{name:<18}  {fact}" for name, fact in facts.items()]
    return "\n".join([*lines, *verdict.lost[:SHOWN], *verdict.doubled[:SHOWN], *report.gave_up[:SHOWN]])


def _punctuality(latest_s: float) -> str:
    late = " (THEY FELL BEHIND: fewer jobs a second, or a quieter machine)" if latest_s > LATE_S else ""
    return f"at most {latest_s:.2f} s late{late}"


def _retries(cuts: Sequence[Cut]) -> str:
    """How soon a key was answered with its job after the gateway that had it was gone."""
    alone = sorted(cut.retried_s for cut in cuts if cut.by_the_gateway_alone)
    others = len(cuts) - len(alone)
    if not alone:
        return f"{others} requests, each in another outage as well"
    p50, p99 = (alone[min(len(alone) - 1, int(len(alone) * share))] for share in (0.5, 0.99))
    return (
        f"{len(alone)} requests, accepted on a retry after p50 {p50:.2f} s, p99 {p99:.2f} s, "
        f"at most {alone[-1]:.2f} s; "
        f"{others} more in another outage as well"
    )
