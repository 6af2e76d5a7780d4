"""Finding the size of micro-batch with the highest throughput, while the work goes on. Pure.

The best size so far and a trial take turns, run by run, so that what slows both (a neighbor, a hot device) decides
nothing. Trials go up by two, then ever nearer between what paid and what did not; likewise downward. A clear
difference is believed after few runs, a small one after many. When nothing nearby is left to try, the best size is kept
for a while, and then something is tried again: what was best may have changed.

A search that begins at a large size first looks at each smaller one by doubling, for a few short runs: step by step it
might not see from there what lies beyond the next valley.

Clipper's AIMD feels for a limit in a like way, but for latency alone, and goes on hitting it.
"""

from collections.abc import Sequence
from itertools import cycle, islice
from math import isqrt
from typing import Final

from workers.inference.batching.adaptive.run_time_model import RunTimeModel
from workers.inference.batching.adaptive.size_samples import LAST_LOOK, LOOK_AFTER, SizeSamples, clear_difference

# One slow run is enough to leave a trial: it is retried some day. To stay with one, no hiccup must have decided.
SURE_AFTER: Final = 3
# Of each size that is looked at before the search.
SCAN_RUNS: Final = 2
# Bounds nearer than this to the best size are near enough.
NEAR_ABOVE: Final = 1.05
NEAR_BELOW: Final = 1.25
# Full runs for which the best size is kept before something is tried again; doubled each time that is in vain.
REST_RUNS: Final = 64
LONGEST_REST_RUNS: Final = 512
AGAIN: Final = (1.25, 1 / 1.25, 2.0, 1 / 2.0, 1.1, 1 / 1.1)
# A trial that so many runs in a row did not fill is given up: there is no load for it, or jobs have too many rows each.
UNFILLED_RUNS: Final = 16
# When the best size takes so many times what it took, or so much less, the search starts again from one: small runs are
# short, and from where it stands it might not see across the next valley.
CHANGED: Final = 1.5
RECENT_RUNS: Final = 16
# So many runs tell what a row usually costs.
ROW_COST_RUNS: Final = 200


class SizeSearch:
    """`ceiling` is the largest size, in rows. It is worth something only if its runs take no longer than `target_s`.

    `run_time` is what is known of runs of any size: one that is expected to miss the target is not tried. Where there
    are `steps`, only these sizes are.
    """

    def __init__(
        self, ceiling: int, run_time: RunTimeModel, target_s: float | None = None, steps: Sequence[int] = ()
    ) -> None:
        self.ceiling = ceiling
        self._run_time = run_time
        self._target_s = target_s
        self._steps = steps
        self.row_cost = 1.0  # the mean; a row of text costs its tokens
        self._seen = 0
        self._again = cycle(AGAIN)
        self._start(1)

    def _start(self, size: int, above: int | None = None) -> None:
        """Start the search again from a size; `above` and everything beyond it is known to be no better."""
        self._best = SizeSamples(self._step(size, 0, self.ceiling + 1) or size)
        self._trial: SizeSamples | None = None
        self._retrying = False
        self._below: int | None = None  # the nearest sizes that were found to be no better
        self._above = above
        self._unfilled = 0
        self._rest_runs = REST_RUNS
        self._resting = 0
        self._row_s_at_rest: float | None = None
        self._to_scan: list[int] = []
        self._scanned: list[SizeSamples] = []

    @property
    def best(self) -> int:
        return self._best.size

    @property
    def size(self) -> int:
        """The size to run next."""
        if self._trial is not None and self._trial.count <= self._best.count:
            return self._trial.size
        return self._best.size

    def start_at(self, size: int) -> None:
        """Begin at a size that is known to run, and look at the smaller ones as soon as there is load for it."""
        self._start(max(1, min(size, self.ceiling)))
        doublings = [1 << power for power in range(self._best.size.bit_length())]
        self._to_scan = [step for step in self._steps or doublings if step < self._best.size]

    def refuse(self, size: int) -> None:
        """Never run this size or a larger one again. Half of it is next, and the limit is searched for from there."""
        self.ceiling = min(self.ceiling, max(1, size - 1))
        self._start(max(1, min(size // 2, self._best.size)), above=self.ceiling + 1)

    def ran(self, size: int, cost: float, seconds: float) -> None:
        """Learn from a run, full or not."""
        self._seen = min(self._seen + 1, ROW_COST_RUNS)
        self.row_cost += (cost / size - self.row_cost) / self._seen
        asked, runs = self.size, self._filled(size)
        if self._trial is not None and (runs is None or (asked == self._trial.size and runs is not self._trial)):
            self._not_filled()
            runs = self._filled(
                size
            )  # again: the trial may have been given up, and the best size's runs begun from none
        if runs is None:
            return
        if runs is self._trial:
            self._unfilled = 0
        runs.add(cost, seconds)
        if self._scanning:
            self._scan()
        elif self._trial is not None:
            self._compare(self._trial)
        elif self._best.count in LOOK_AFTER and self._misses_target(self._best, clear_difference(self._best.count)):
            self._shrink()
        elif self._resting:
            self._rest()
        else:
            self._try_next()

    def _filled(self, size: int) -> SizeSamples | None:
        """Whose full run it was, if it was one: the trial's or the best size's, whichever is nearer."""
        runs = self._best
        if self._trial is not None and abs(size - self._trial.size) < abs(size - runs.size):
            runs = self._trial
        return runs if runs.size * 7 <= size * 8 <= runs.size * 9 else None

    def _not_filled(self) -> None:
        self._unfilled += 1
        if self._unfilled < UNFILLED_RUNS:
            return
        if self._scanning:
            self._trial = None
        else:
            self._rest_again()

    @property
    def _scanning(self) -> bool:
        return bool(self._to_scan or self._scanned)

    def _scan(self) -> None:
        """Go through the sizes, and begin the search at the best of them."""
        if self._trial is not None and self._trial.count >= SCAN_RUNS:
            self._scanned.append(self._trial)
            self._trial = None
        if self._trial is not None or self._best.count < SCAN_RUNS:
            return
        if self._to_scan:
            self._trial = SizeSamples(self._to_scan.pop(0))
            self._unfilled = 0
        else:
            self._start(min([self._best, *self._scanned], key=self._row_s).size)

    def _compare(self, trial: SizeSamples) -> None:
        """Decide about the trial, if that is possible yet."""
        count = min(trial.count, self._best.count)
        if count not in LOOK_AFTER:
            return
        clear = clear_difference(count)
        gain = self._row_s(self._best) / self._row_s(trial) - 1
        if gain < -clear or self._misses_target(trial, clear):
            self._leave(trial)
        elif gain > clear and count >= SURE_AFTER and not self._misses_target(trial, -clear):
            self._take(trial)
        elif count == LAST_LOOK:
            self._leave(trial)

    def _misses_target(self, runs: SizeSamples, clear: float) -> bool:
        return self._target_s is not None and self._row_s(runs) * runs.size > self._target_s * (1 + clear)

    def _row_s(self, runs: SizeSamples, of_last: int = LAST_LOOK) -> float:
        """What a usual row costs in such runs."""
        return runs.usual_s(runs.size * self.row_cost, self._run_time, of_last) / runs.size

    def _take(self, trial: SizeSamples) -> None:
        if self._retrying:  # the old bounds were of another time
            self._below = self._above = None
        if trial.size > self._best.size:
            self._below = self._best.size
        else:
            self._above = self._best.size
        self._best, self._trial, self._retrying = trial, None, False
        self._rest_runs = REST_RUNS
        self._try_next()

    def _leave(self, trial: SizeSamples) -> None:
        if self._retrying:  # the bounds stand
            self._rest_again()
            return
        if trial.size > self._best.size:
            self._above = trial.size
        else:
            self._below = trial.size
        self._try_next()

    def _try_next(self) -> None:
        size = self._upward() or self._downward()
        if size is None:
            self._rest_again()
        else:
            self._begin(size)

    def _begin(self, size: int) -> None:
        self._trial = SizeSamples(size)
        self._best = SizeSamples(self._best.size)  # from none: the two are compared over the same time
        self._unfilled = 0

    def _upward(self) -> int | None:
        """The next larger size to try: twice the best, or between it and the nearest that is no better."""
        best, above = self._best.size, self._above
        if above is None:
            return self._larger(2 * best)
        return self._larger(isqrt(best * above), above) if above > NEAR_ABOVE * best else None

    def _downward(self) -> int | None:
        best, below = self._best.size, self._below or 0
        return self._smaller(isqrt(best * below) or best // 2, below) if best > NEAR_BELOW * below else None

    def _larger(self, size: int, below: int | None = None) -> int | None:
        """About the size, at least larger than the best, within what is possible and `below` what is not."""
        best = self._best.size
        size = self._step(size, best, min(below or self.ceiling + 1, self.ceiling + 1)) or best
        while size > best and self._target_s is not None:
            expected_s = self._run_time.predicted_s(size * self.row_cost)
            if expected_s is None or expected_s <= self._target_s:
                break
            size = self._step((best + size) // 2, best, size) or best
        return size if size > best else None

    def _smaller(self, size: int, above: int = 0) -> int | None:
        return self._step(size, above, self._best.size)

    def _step(self, size: int, above: int, below: int) -> int | None:
        """What is nearest to the size between the two others: at it or under it, or else over it."""
        if not self._steps:
            return min(max(size, above + 1), below - 1) if below - above > 1 else None
        steps = [step for step in self._steps if above < step < below]
        return max((step for step in steps if step <= size), default=min(steps, default=None))

    def _shrink(self) -> None:
        """Go where the target is met: down so far as would do if a run had no fixed part."""
        best = self._best.size
        if best > 1 and self._target_s is not None:
            share = self._target_s / (self._row_s(self._best) * best)
            self._start(max(1, min(int(best * share), best - 1)), above=best)

    def _rest_again(self) -> None:
        self._best = SizeSamples(self._best.size)
        self._trial = None
        self._retrying = False
        self._resting = self._rest_runs
        self._rest_runs = min(2 * self._rest_runs, LONGEST_REST_RUNS)

    def _rest(self) -> None:
        """Keep the best size for a while; no longer if it is suddenly not what it was."""
        self._resting -= 1
        if self._best.count % RECENT_RUNS == 0:
            row_s = self._row_s(self._best, RECENT_RUNS)
            if self._row_s_at_rest is not None and not 1 / CHANGED < row_s / self._row_s_at_rest < CHANGED:
                self._start(1)
                return
            if self._best.count == RECENT_RUNS:
                self._row_s_at_rest = row_s
        if self._resting == 0:
            self._try_again()

    def _try_again(self) -> None:
        """Try a larger or a smaller size, though some like it were found to be no better."""
        for factor in islice(self._again, len(AGAIN)):
            size = self._retry_size(factor)
            if size is not None:
                self._retrying = True
                self._begin(size)
                return
        self._rest_again()

    def _retry_size(self, factor: float) -> int | None:
        size = int(self._best.size * factor)
        return self._larger(size) if factor > 1 else self._smaller(size)
