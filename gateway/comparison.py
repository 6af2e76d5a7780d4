"""Versions of a model held against each other: from counts to what is surely different, and a sentence. Pure.

docs/statistics.md tells the tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np

from gateway.comparison_documents import (
    Basis,
    ComparedVersion,
    ComparisonDocument,
    Difference,
    Finding,
    OutcomesDocument,
    QuantileDocument,
    RatioDocument,
    RunTimeDocument,
    ShareDocument,
    SpanDocument,
)
from schemas import bounds
from schemas.ratios import Sides, ratio_bounds
from schemas.stats import BINS_A_DOUBLING, FAULTS, End
from schemas.topics import LaneClass
from schemas.version_counts import SPAN_S, Sums, VersionCounts, total
from stores.feedback import OutcomeSums

LEVEL: Final = 0.05
SPAN: Final = timedelta(seconds=SPAN_S)
# What a version is answerable for.
ENDED: Final = FAULTS | {End.SUCCEEDED}
# Failures, outcomes, run times: each is one more statement that may be wrong.
STATEMENTS: Final = 3
TAIL: Final = 0.95
# So many points a version are drawn over time at most.
MOST_SPANS: Final = 200


@dataclass(frozen=True)
class _Version:
    """All that is known of a version, by when spans began."""

    name: str
    spans: Mapping[datetime, Sums]
    outcomes: Mapping[datetime, OutcomeSums]

    @cached_property
    def sums(self) -> Sums:
        return total(self.spans.values())

    def jobs(self, basis: Basis, at: datetime | None = None) -> tuple[int, int]:
        """Jobs that are compared, and how many of them failed."""
        sums = self.sums if at is None else self.spans.get(at, Sums())
        parts = [sums.ends] if basis is Basis.SHARE else [sums.ends, sums.others]
        jobs, failed = (sum(part.get(end, 0) for part in parts for end in ends) for ends in (ENDED, FAULTS))
        return jobs, failed

    def told(self, at: datetime) -> tuple[int, int]:
        found = self.outcomes.get(at)
        return (0, 0) if found is None else (found.jobs, found.bad)


@dataclass(frozen=True)
class _Finding:
    """One way in which a version may differ: `ratio` times as much as the other's is worse."""

    ratio: RatioDocument | None
    told: str

    @property
    def worse(self) -> bool:
        return self.ratio is not None and self.ratio.lower > 1

    @property
    def better(self) -> bool:
        return self.ratio is not None and self.ratio.upper is not None and self.ratio.upper < 1


def compare(
    model: str,
    versions: Sequence[str],
    lane: LaneClass,
    since: datetime,
    until: datetime,
    counts: Sequence[VersionCounts],
    outcomes: Sequence[OutcomeSums],
) -> ComparisonDocument:
    """`versions` are at least two; the others are held against the first."""
    known = [
        _Version(
            name,
            {each.began_at: each.sums for each in counts if each.lane.version == name},
            {each.began_at: each for each in outcomes if each.version == name},
        )
        for name in versions
    ]
    basis = Basis.SHARE if all(each.jobs(Basis.SHARE)[0] for each in known) else Basis.ALL
    size = _common_size([each.sums for each in known])
    level = LEVEL / STATEMENTS / (len(known) - 1)
    return ComparisonDocument(
        model=model,
        lane=lane,
        since=since,
        until=until,
        confidence=1 - LEVEL,
        basis=basis,
        versions=[_version(each, basis, size, until) for each in known],
        differences=[_difference(each, known[0], basis, size, level) for each in known[1:]],
    )


def _version(known: _Version, basis: Basis, size: int | None, until: datetime) -> ComparedVersion:
    sums, (jobs, failed) = known.sums, known.jobs(basis)
    ends = {end: sums.ends.get(end, 0) + sums.others.get(end, 0) for end in End}
    return ComparedVersion(
        version=known.name,
        ends={end: count for end, count in ends.items() if count},
        compared=jobs,
        rescued=sums.rescued,
        failed=_share(failed, jobs),
        run_time=None if size is None else _run_time(sums.run_times.get(size, {}), size),
        outcomes=_outcomes(list(known.outcomes.values())),
        agreement=_share(sums.compared - sums.differing, sums.compared),
        counted_until=min(until, max(known.spans) + SPAN) if known.spans else None,
        over_time=_over_time(known, basis),
    )


def _share(count: int, of: int) -> ShareDocument | None:
    found = bounds.share(count, of, LEVEL)
    return None if found is None else ShareDocument(count, of, *found)


def _outcomes(told: Sequence[OutcomeSums]) -> OutcomesDocument | None:
    jobs = sum(each.jobs for each in told)
    bad = _share(sum(each.bad for each in told), jobs)
    return None if bad is None else OutcomesDocument(bad, sum(each.reward for each in told) / jobs)


def _over_time(known: _Version, basis: Basis) -> list[SpanDocument]:
    """Spans without anything are left out; where there are many, several are told as one."""
    places = sorted(known.spans.keys() | known.outcomes.keys())
    together = -(-len(places) // MOST_SPANS)
    found: list[SpanDocument] = []
    for first in range(0, len(places), together or 1):
        some = places[first : first + together]
        jobs, failed = map(sum, zip(*(known.jobs(basis, at) for at in some), strict=True))
        told, bad = map(sum, zip(*(known.told(at) for at in some), strict=True))
        found.append(SpanDocument(some[0], jobs, failed, told, bad))
    return found


def _common_size(all_of: Sequence[Sums]) -> int | None:
    """The class of sizes that all versions have runs of: of several the one whose fewest runs are the most."""
    shared = set[int].intersection(*(set(sums.run_times) for sums in all_of))

    def fewest(size: int) -> int:
        return min(sum(sums.run_times[size].values()) for sums in all_of)

    return max(sorted(shared), key=fewest, default=None)


def _run_time(bins: Mapping[int, int], size: int) -> RunTimeDocument | None:
    quantiles = [_quantile(bins, at, LEVEL) for at in (0.5, TAIL, 0.99)]
    p50, p95, p99 = quantiles
    if p50 is None or p95 is None or p99 is None:
        return None
    rows_to = 2**size
    told = [(_edge_s(place), bins[place]) for place in sorted(bins)]
    return RunTimeDocument(rows_to // 2 + 1 if size else 1, rows_to, sum(bins.values()), p50, p95, p99, told)


def _quantile(bins: Mapping[int, int], at: float, level: float) -> QuantileDocument | None:
    found = bounds.quantile(bins, at, level)
    if found is None:
        return None
    lower = 0.0 if found.above is None else _edge_s(found.above)
    return QuantileDocument(_edge_s(found.bin), lower, None if found.below is None else _edge_s(found.below))


def _edge_s(place: int) -> float:
    return float(2 ** (place / BINS_A_DOUBLING))


def _difference(new: _Version, old: _Version, basis: Basis, size: int | None, level: float) -> Difference:
    failed = _failed(new, old, basis, level)
    outcomes = _bad(new, old, level)
    run_time = _slower(new, old, size, level)
    every = [failed, outcomes, run_time]
    return Difference(
        version=new.name,
        than=old.name,
        failed=failed.ratio,
        outcomes=outcomes.ratio,
        run_time=run_time.ratio,
        finding=_finding(every),
        told=_sentence(new.name, old.name, every),
    )


def _failed(new: _Version, old: _Version, basis: Basis, level: float) -> _Finding:
    places = sorted(new.spans.keys() & old.spans.keys())
    sides = _sides([(*old.jobs(basis, at), *new.jobs(basis, at)) for at in places])
    (old_jobs, old_failed), (new_jobs, new_failed) = old.jobs(basis), new.jobs(basis)
    counted = f"{_percent(new_failed, new_jobs)} of {new_jobs:,} against {_percent(old_failed, old_jobs)}"
    return _Finding(_ratio(sides, level), f"its jobs fail {{times}} as often ({counted} of {old_jobs:,})")


def _bad(new: _Version, old: _Version, level: float) -> _Finding:
    places = sorted(new.outcomes.keys() & old.outcomes.keys())
    told = "its outcomes are bad {times} as often"
    return _Finding(_ratio(_sides([(*old.told(at), *new.told(at)) for at in places]), level), told)


def _slower(new: _Version, old: _Version, size: int | None, level: float) -> _Finding:
    told = "its 95th percentile of run time is {times} as long"
    if size is None:
        return _Finding(None, told)
    ours, theirs = (_quantile(each.sums.run_times[size], TAIL, level / 2) for each in (new, old))
    if ours is None or theirs is None:
        return _Finding(None, told)
    lower = 0.0 if theirs.upper is None else ours.lower / theirs.upper
    upper = None if ours.upper is None or not theirs.lower else ours.upper / theirs.lower
    return _Finding(RatioDocument(lower, upper), told)


def _sides(rows: Sequence[tuple[int, int, int, int]]) -> Sides | None:
    """Of spans in which both have any: jobs and bad jobs, first those of the old version."""
    both = [row for row in rows if row[0] and row[2]]
    return Sides(*np.array(both, dtype=np.float64).T) if both else None


def _ratio(sides: Sides | None, level: float) -> RatioDocument | None:
    return None if sides is None else RatioDocument(*ratio_bounds(sides, level))


def _finding(every: Sequence[_Finding]) -> Finding:
    worse, better = any(each.worse for each in every), any(each.better for each in every)
    if worse and better:
        return Finding.MIXED
    return Finding.WORSE if worse else Finding.BETTER if better else Finding.UNPROVEN


def _sentence(new: str, old: str, every: Sequence[_Finding]) -> str:
    worse = [_told(each) for each in every if each.worse]
    better = [_told(each) for each in every if each.better]
    both = (("worse", worse), ("better", better))
    said = [f"{word} than {old}: {', and '.join(reasons)}" for word, reasons in both if reasons]
    if said:
        return f"{new} is {'; and '.join(said)}"
    if not any(each.ratio for each in every):
        return f"nothing tells {new} and {old} apart yet: there are no counts of both"
    return f"no difference between {new} and {old} is proven yet"


def _told(found: _Finding) -> str:
    ratio = found.ratio or RatioDocument(0.0, None)
    times = f"at least {ratio.lower:.2g}" if ratio.upper is None else f"{ratio.lower:.2g} to {ratio.upper:.2g}"
    return found.told.format(times=f"{times} times")


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.2g} %" if of else "none"
