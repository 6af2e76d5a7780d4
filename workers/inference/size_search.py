"""Finding the size of micro-batch with the highest throughput, while the work goes on. Pure.

The best size so far and a trial take turns, run by run, so that what slows both (a neighbor, a hot device) decides
nothing. Trials go up by two, then ever nearer between what paid and what did not; likewise downward. A clear
difference is believed after two runs each, a small one after many. When nothing nearby is left to try, the best size is
kept for a while, and then something is tried again: what was best may have changed.

Clipper's AIMD and TCP feel for a limit in the same way, but for latency alone, and go on hitting it.
"""

from collections import deque
from collections.abc import Callable
from itertools import cycle
from math import isqrt, sqrt
from typing import Final

# Full runs each of the two, before the last of which only a clear difference counts.
LOOK_AFTER: Final = frozenset({2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64})
LAST_LOOK: Final = max(LOOK_AFTER)
CLEAR: Final = 0.5  # relative, of one run each; of n it is CLEAR / sqrt(n)
# Bounds nearer than this to the best size are near enough.
NEAR_ABOVE: Final = 1.05
NEAR_BELOW: Final = 1.25
# Full runs for which the best size is kept before something is tried again; doubled while that is in vain.
REST_RUNS: Final = 64
LONGEST_REST_RUNS: Final = 1024
AGAIN: Final = (1.25, 2.0, 1.1)
# A trial that so many runs did not fill is given up.
UNFILLED_RUNS: Final = 256
# When the best size takes this much more or less than it did, everything may be different.
CHANGED: Final = 1.3
RECENT_RUNS: Final = 16


class _Runs:
    """Full runs of one size, as seconds a unit."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self._recent: deque[float] = deque(maxlen=LAST_LOOK)

    def add(self, unit_s: float) -> None:
        self.count += 1
        self._recent.append(unit_s)

    def usual(self, of_last: int = LAST_LOOK) -> float:
        """The mean of the middle half of the last ones; of two the smaller: hiccups only ever add."""
        last = sorted(list(self._recent)[-of_last:])
        quarter = len(last) // 4
        middle = last[quarter : max(quarter + 1, len(last) - max(1, quarter))]
        return sum(middle) / len(middle)


class SizeSearch:
    """`ceiling` is the largest size. A size is worth something only if its runs take no longer than `target_s`.

    `expected_s` says how long a run of a size may take, as far as that is known: what is expected to miss the target is
    not tried.
    """

    def __init__(
        self, ceiling: int, target_s: float | None = None, expected_s: Callable[[int], float | None] = lambda _: None
    ) -> None:
        self.ceiling = ceiling
        self._target_s = target_s
        self._expected_s = expected_s
        self._best = _Runs(1)
        self._trial: _Runs | None = None
        self._below: int | None = None  # sizes that were found to be no better
        self._above: int | None = None
        self._unfilled = 0
        self._rest_runs = REST_RUNS
        self._resting = 0
        self._usual_before: float | None = None
        self._again = cycle(AGAIN)

    @property
    def size(self) -> int:
        """The size to run next."""
        if self._trial is not None and self._trial.count <= self._best.count:
            return self._trial.size
        return self._best.size

    @property
    def best(self) -> int:
        return self._best.size

    def ran(self, size: int, seconds: float) -> None:
        """Learn from a run, full or not."""
        runs = self._runs_of(size)
        if runs is None:
            self._not_filled()
            return
        runs.add(seconds / size)
        if self._trial is not None:
            self._look(self._trial)
        elif self._too_slow(self._best, 0.0) and self._best.count >= 3:
            self._shrink()
        elif self._resting:
            self._rest()
        elif self._best.count >= 2:
            self._try_next()

    def start_at(self, size: int) -> None:
        """Begin the search at a size that is known to run."""
        self._move_to(_Runs(max(1, min(size, self.ceiling))))

    def refuse(self, size: int) -> None:
        """Never run this size or a larger one again, and go on with half of it."""
        self.ceiling = min(self.ceiling, max(1, size - 1))
        if self._best.size > size // 2:
            self._move_to(_Runs(max(1, size // 2)))
        self._trial = None
        self._above = min(self._above or size, size)

    def _runs_of(self, size: int) -> _Runs | None:
        """Whose full run it was, if it was one: of the trial or of the best size, whichever is nearer."""
        nearest = self._best
        if self._trial is not None and abs(size - self._trial.size) < abs(size - self._best.size):
            nearest = self._trial
        return nearest if nearest.size * 7 <= size * 8 <= nearest.size * 9 else None

    def _not_filled(self) -> None:
        if self._trial is None:
            return
        self._unfilled += 1
        if self._unfilled > UNFILLED_RUNS:
            self._trial = None
            self._resting = self._rest_runs

    def _look(self, trial: _Runs) -> None:
        """Decide about the trial, if that is possible yet."""
        count = min(trial.count, self._best.count)
        if count not in LOOK_AFTER:
            return
        last = count == LAST_LOOK
        margin = 0.0 if last else CLEAR / sqrt(count)
        gain = self._best.usual() / trial.usual() - 1
        if self._too_slow(trial, margin) or gain < -margin:
            self._give_up(trial)
        elif (gain > margin or last) and not self._too_slow(trial, -margin):
            self._accept(trial)
        elif last:
            self._give_up(trial)

    def _too_slow(self, runs: _Runs, margin: float) -> bool:
        return (
            self._target_s is not None and runs.count > 0 and (runs.usual() * runs.size > self._target_s * (1 + margin))
        )

    def _accept(self, trial: _Runs) -> None:
        if trial.size > self._best.size:
            self._below = self._best.size
        else:
            self._above = self._best.size
        self._best, self._trial = trial, None
        self._rest_runs = REST_RUNS
        self._try_next()

    def _give_up(self, trial: _Runs) -> None:
        if trial.size > self._best.size:
            self._above = trial.size
        else:
            self._below = trial.size
        self._trial = None
        self._try_next()

    def _try_next(self) -> None:
        size = self._upward() or self._downward()
        if size is None:
            self._resting = self._rest_runs
            self._rest_runs = min(2 * self._rest_runs, LONGEST_REST_RUNS)
            self._usual_before = None
        else:
            self._begin(size)

    def _begin(self, size: int) -> None:
        self._trial = _Runs(size)
        self._best = _Runs(self._best.size)  # afresh: the two are compared over the same time
        self._unfilled = 0

    def _upward(self) -> int | None:
        """The next larger size to try: twice the best, or between it and the nearest that is no better."""
        best = self._best.size
        above = self._above
        if above is None:
            size = min(2 * best, self.ceiling)
        elif above > NEAR_ABOVE * best:
            size = min(max(isqrt(best * above), best + 1), above - 1, self.ceiling)
        else:
            return None
        return self._within_target(size)

    def _within_target(self, size: int) -> int | None:
        best = self._best.size
        while size > best and self._target_s is not None and (self._expected_s(size) or 0) > self._target_s:
            size = (best + size) // 2
        return size if size > best else None

    def _downward(self) -> int | None:
        best = self._best.size
        below = self._below
        if below is None:
            size = best // 2
        elif best > NEAR_BELOW * below:
            size = max(isqrt(best * below), below + 1)
        else:
            return None
        return size if 0 < size < best else None

    def _shrink(self) -> None:
        """Go where the target is met: so far down as would do if a run had no fixed part."""
        assert self._target_s is not None  # noqa: S101 - only what has a target can miss it
        size = int(self._target_s / self._best.usual())
        if self._best.size > 1:
            above = self._best.size
            self._move_to(_Runs(max(1, min(size, above - 1))))
            self._above = above

    def _rest(self) -> None:
        """Keep the best size for a while; less when it is suddenly no longer what it was."""
        self._resting -= 1
        if self._best.count >= RECENT_RUNS:
            usual = self._best.usual(RECENT_RUNS)
            self._usual_before = self._usual_before or usual
            ratio = usual / self._usual_before
            if not 1 / CHANGED < ratio < CHANGED:
                self._move_to(self._best)
                return
        if self._resting == 0:
            self._try_again()

    def _try_again(self) -> None:
        """Try one larger and one smaller size, though sizes like these were found to be no better."""
        factor = next(self._again)
        best = self._best.size
        up = self._within_target(min(max(int(best * factor), best + 1), self.ceiling))
        if up is not None:
            self._begin(up)
        elif best > 1:
            self._begin(min(int(best / factor), best - 1))
        else:
            self._resting = self._rest_runs

    def _move_to(self, best: _Runs) -> None:
        """Search anew from there."""
        self._best = best
        self._trial = self._below = self._above = None
        self._resting = 0
        self._rest_runs = REST_RUNS
        self._usual_before = None
