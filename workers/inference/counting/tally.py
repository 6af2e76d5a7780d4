"""Counting as jobs end and runs are made: a fraction of a microsecond each. Used from the event loop only."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from schemas.jobs import Terminal
from schemas.stats import Counts, End, bin_of, end_kind, size_class
from schemas.topics import Lane
from workers.inference.execution.account import Run


class Tally:
    """What is counted of one lane until it is taken."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._ends: defaultdict[End, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._others: defaultdict[End, int] = defaultdict(int)
        self._run_times: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._rescued = 0
        self._moved = 0
        self._shadowed: defaultdict[str, int] = defaultdict(int)
        self._disagreed: defaultdict[str, int] = defaultdict(int)
        self._revisions: set[int] = set()  # one nearly always

    def ended(self, ends: Iterable[Terminal]) -> None:
        """Jobs have ended, here and for good."""
        for end in ends:
            kind = end_kind(end.error.code if end.error else None)
            if end.cohort is None or not _by_share(end):
                self._others[kind] += 1
            else:
                self._ends[kind][end.cohort] += 1
                if end.revision is not None:
                    self._revisions.add(end.revision)

    def rescued(self, ends: Sequence[Terminal]) -> None:
        """So they would have ended, had they not gone to another version: each counts against this one."""
        self.ended(ends)
        self._rescued += sum(map(_by_share, ends))

    def moved(self, jobs: int) -> None:
        """So many that waited went to another version without having run."""
        self._moved += jobs

    def compared(self, shadow_of: str, *, disagrees: bool) -> None:
        """This version has run a copy of a job that the other one answered."""
        self._shadowed[shadow_of] += 1
        if disagrees:
            self._disagreed[shadow_of] += 1

    def ran(self, runs: Iterable[Run]) -> None:
        for run in runs:
            self._run_times[size_class(run.rows)][bin_of(run.seconds / (run.rows or 1))] += 1

    def take(self) -> Counts:
        """All that was counted since the last time."""
        revisions = self._revisions
        counts = Counts(
            ends={kind: dict(cohorts) for kind, cohorts in self._ends.items()},
            others=dict(self._others),
            run_times={size: dict(bins) for size, bins in self._run_times.items()},
            rescued=self._rescued,
            moved=self._moved,
            shadowed=dict(self._shadowed),
            disagreed=dict(self._disagreed),
            revisions=(min(revisions), max(revisions)) if revisions else None,
        )
        self._clear()
        return counts


def _by_share(end: Terminal) -> bool:
    return end.cohort is not None and end.moved_from is None


class Tallies:
    """Those of all lanes that this worker has served."""

    def __init__(self) -> None:
        self._of: dict[Lane, Tally] = {}

    def of(self, lane: Lane) -> Tally:
        return self._of.setdefault(lane, Tally())

    def take(self) -> list[tuple[Lane, Counts]]:
        """What was counted since the last time, of the lanes where anything was."""
        taken = [(lane, tally.take()) for lane, tally in self._of.items()]
        return [(lane, counts) for lane, counts in taken if counts.everything]
