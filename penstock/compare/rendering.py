"""What a person sees of a comparison. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from penstock.documents import Document

TITLES: Final = ("VERSION", "JOBS", "FAILED", "P50 A ROW", "P95 A ROW", "BAD OUTCOMES", "REWARD", "AGREES")
BASES: Final = {
    "share": "failures of jobs that came by a share of the route",
    "all": "failures of all jobs, whoever chose their version",
}


def head(found: Document) -> str:
    since, until = (datetime.fromisoformat(found[name]) for name in ("since", "until"))
    return (
        f"{found['model']}, {found['lane']} jobs that ended from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC, "
        f"{BASES.get(found['basis'], found['basis'])}"
    )


def row(version: Document) -> tuple[str, ...]:
    run_time, outcomes = version["run_time"], version["outcomes"]
    return (
        version["version"],
        f"{version['compared']:,}",
        share(version["failed"]),
        "" if run_time is None else quantile(run_time["p50"]),
        "" if run_time is None else quantile(run_time["p95"]),
        "" if outcomes is None else share(outcomes["bad"]),
        "" if outcomes is None else f"{outcomes['reward']:.3f}",
        share(version["agreement"]),
    )


def verdicts(found: Document) -> list[str]:
    return [each["told"] for each in found["differences"]]


def notes(found: Document) -> list[str]:
    """What a reader should know of the figures."""
    told = []
    sizes = next((each["run_time"] for each in found["versions"] if each["run_time"] is not None), None)
    if sizes is not None:
        told.append(f"run times are those of runs of {rows(sizes)}")
    if not any(each["counted_until"] for each in found["versions"]):
        told.append("nothing was counted: a rollout controller counts, some 15 s after a job's end")
    return told


def rows(run_time: Document) -> str:
    first, last = run_time["rows_from"], run_time["rows_to"]
    return f"{first} row" + ("s" if first > 1 else "") if first == last else f"{first} to {last} rows"


def share(found: Document | None) -> str:
    """`5.1 % (4.2 to 6.3)`."""
    if found is None:
        return ""
    return f"{percent(found['value'])} % ({percent(found['lower'])} to {percent(found['upper'])})"


def percent(value: float) -> str:
    return f"{100 * value:.2g}" if value < 0.995 else f"{100 * value:.3g}"


def quantile(found: Document) -> str:
    upper = "?" if found["upper"] is None else seconds(found["upper"])
    return f"{seconds(found['value'])} ({seconds(found['lower'])} to {upper})"


def seconds(value: float) -> str:
    """In the unit in which it has one to three digits before the point."""
    for unit, length_s in (("s", 1.0), ("ms", 1e-3)):
        if value >= length_s * 0.9995:
            return f"{value / length_s:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def lines(found: Document) -> Sequence[tuple[str, ...]]:
    return [row(version) for version in found["versions"]]
