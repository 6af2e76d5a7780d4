"""Which runs are slow: above the line of their class of size.

Time is that of a run, a row: not what a job waited, since the canary has a lane, and workers, of its own. Small
micro-batches take longer a row, and the canary's are smaller while its share is: only runs of one class are compared.
"""

from collections.abc import Mapping
from typing import Final

from schemas.stats import Counts, added
from workers.rollout.judging.evidence import SlowLines, Tally

QUANTILE: Final = 0.95
# So many runs tell the quantile of a class well enough: ten of them lie above it.
ENOUGH_RUNS: Final = 200


def learned(lines: SlowLines, stable: Counts) -> SlowLines:
    """With the lines of the classes that the stable version now has enough runs of. A line that stands stays."""
    new = {size: bins for size, bins in stable.run_times.items() if size not in lines.above}
    if not new:
        return lines
    seen = added(Counts(run_times=lines.seen), Counts(run_times=new)).run_times
    ready = [size for size, bins in seen.items() if sum(bins.values()) >= ENOUGH_RUNS]
    above = {size: _line(seen.pop(size)) for size in ready}
    return SlowLines({**lines.above, **above}, seen)


def classes(lines: SlowLines, stable: Counts, canary: Counts) -> list[tuple[Tally, Tally]]:
    """Runs and slow runs of both versions, of each class that has a line and that both have runs of."""
    both = sorted(lines.above.keys() & stable.run_times.keys() & canary.run_times.keys())
    return [
        (_tally(stable.run_times[size], lines.above[size]), _tally(canary.run_times[size], lines.above[size]))
        for size in both
    ]


def _line(bins: Mapping[int, int]) -> int:
    """The bin that the quantile lies in."""
    needed, so_far = QUANTILE * sum(bins.values()), 0
    for at in sorted(bins):
        so_far += bins[at]
        if so_far >= needed:
            return at
    return max(bins)


def _tally(bins: Mapping[int, int], line: int) -> Tally:
    return Tally(sum(bins.values()), sum(runs for at, runs in bins.items() if at > line))
