"""What all workers counted of one model version and lane in ten minutes: what versions are compared by. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from schemas.stats import Counts, End, add_up
from schemas.topics import Lane

SPAN_S: Final = 600


class Sums(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`schemas.stats.Counts` without the cohorts: `ends` of jobs that came by a share of the route, `others` of all
    other jobs. `compared` are pairs of answers that a shadow compared, of which `differing` were not alike."""

    ends: dict[End, int] = {}
    others: dict[End, int] = {}
    run_times: dict[int, dict[int, int]] = {}
    rescued: int = 0
    moved: int = 0
    compared: int = 0
    differing: int = 0

    @property
    def size(self) -> int:
        """All that was counted, added up: of two sums of the same time the larger one knows more."""
        runs = sum(sum(bins.values()) for bins in self.run_times.values())
        return sum(self.ends.values()) + sum(self.others.values()) + runs + self.rescued + self.moved + self.compared


class VersionCounts(msgspec.Struct, frozen=True):
    """The sums of the jobs that ended from `began_at` on, for `SPAN_S` seconds."""

    lane: Lane
    began_at: datetime
    sums: Sums


def sums_of(counts: Counts) -> Sums:
    return Sums(
        ends={end: sum(cohorts.values()) for end, cohorts in counts.ends.items()},
        others=counts.others,
        run_times=counts.run_times,
        rescued=counts.rescued,
        moved=counts.moved,
        compared=sum(counts.shadowed.values()),
        differing=sum(counts.disagreed.values()),
    )


def total(all_of: Iterable[Sums]) -> Sums:
    ends: dict[End, int] = {}
    others: dict[End, int] = {}
    run_times: dict[int, dict[int, int]] = {}
    numbers = dict.fromkeys(("rescued", "moved", "compared", "differing"), 0)
    for each in all_of:
        add_up(ends, each.ends)
        add_up(others, each.others)
        for size, bins in each.run_times.items():
            add_up(run_times.setdefault(size, {}), bins)
        for name in numbers:
            numbers[name] += getattr(each, name)
    return Sums(ends=ends, others=others, run_times=run_times, **numbers)
