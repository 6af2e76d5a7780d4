"""What a chaos run is summed up as."""

from collections import Counter

from tests.acceptance.chaos.running import Report

SHOWN = 10


def table(report: Report) -> str:
    """A line a fact; of lost and doubled jobs the first few by name."""
    verdict, plan = report.verdict, report.plan
    faults = Counter(f"{fault.kind} {fault.part.partition('-')[0]}" for fault in plan.faults)
    facts = {
        "jobs": f"{verdict.jobs:,} of {plan.jobs:,}, {plan.per_s:g} a second",
        "faults": f"{len(plan.faults)}: " + ", ".join(f"{times} {what}" for what, times in sorted(faults.items())),
        "attempts over HTTP": f"{report.attempts:,}, refused: {dict(report.refusals)}",
        "lost": f"{len(verdict.lost):,}",
        "visible twice": f"{len(verdict.doubled):,}",
        "result records": f"{verdict.records:,}: {verdict.repeated:,} repeats, {verdict.repeated / verdict.jobs:.2%}",
        "took": f"{report.took_s:.0f} s",
    }
    lines = [f"{name:<18}  {fact}" for name, fact in facts.items()]
    return "\n".join([*lines, *verdict.lost[:SHOWN], *verdict.doubled[:SHOWN]])
