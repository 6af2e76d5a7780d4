"""How many rows the next micro-batch of a model version may have. Pure; one for both lanes of a version.

Why it is done so: docs/decisions/0010-batch-size.md.
"""

import math
from collections.abc import Sequence
from typing import Final

from workers.inference.batching.adaptive.run_time_model import RunTimeModel
from workers.inference.batching.adaptive.size_search import SizeSearch

# Where rows differ in cost: the share of the cost that memory had no room for which is allowed from then on. The limit
# is not searched for step by step, as it is with rows.
ROOM: Final = 0.75


class BatchSizeTuner:
    """Looks for the number of rows that pays best: up to `ceiling`, with runs of `target_s` at most, and among
    `batch_sizes`, where there are any. Starts small, or where `start_at` says.

    Where `costs_differ`, from text to text or image to image, it is their sum that memory limits. One that is not
    `adaptive` is the ceiling from the start, until memory runs out.
    """

    def __init__(
        self,
        ceiling: int,
        *,
        target_s: float | None = None,
        adaptive: bool = True,
        batch_sizes: Sequence[int] = (),
        costs_differ: bool = False,
    ) -> None:
        self.cost = math.inf  # the most that the next micro-batch may cost
        self._costs_differ = costs_differ
        self._adaptive = adaptive
        self._run_time = RunTimeModel()
        self._search = SizeSearch(ceiling, self._run_time, target_s, batch_sizes)
        if not adaptive:
            self._search.start_at(ceiling)

    @property
    def rows(self) -> int:
        """The most rows of the next micro-batch."""
        return self._search.size

    @property
    def most_rows(self) -> int:
        """The most rows that there is known to be room for."""
        return self._search.ceiling

    @property
    def best_rows(self) -> int:
        """What has been found to be best; `rows` is now and then something else, to learn."""
        return self._search.best

    def start_at(self, rows: int) -> None:
        """Begin at a size that is known to run, from the warm-up."""
        self._search.start_at(rows)

    def observe(self, rows: int, cost: float, seconds: float) -> None:
        """Learn from one run of the model that went well. `cost` includes padding."""
        self.observe_part(cost, seconds)
        if self._adaptive and rows > 0 and cost > 0 and seconds > 0:
            self._search.ran(rows, cost, seconds)

    def observe_part(self, cost: float, seconds: float) -> None:
        """Learn from a run of a part of a micro-batch that failed as a whole: how long runs take, but not which size
        is best, as such parts are of any size and come without what a micro-batch takes besides."""
        if cost > 0 and seconds > 0:
            self._run_time.observe(cost, seconds)

    def predicted_s(self, rows: int, cost: float) -> float | None:  # noqa: ARG002 - `limits.Limits`'; the cost tells
        """How long a run takes; None until a few were seen."""
        return self._run_time.predicted_s(cost)

    def cost_within(self, seconds: float) -> float:
        """The most that a run may cost to take no longer than so many seconds; 0 while that cannot be told."""
        return self._run_time.cost_within(seconds)

    def row_s(self) -> float | None:
        """How long a usual row takes within a full micro-batch."""
        run_s = self._run_time.predicted_s(self._search.best * self._search.row_cost)
        return None if run_s is None else run_s / self._search.best

    def padding_worth(self) -> float | None:
        """The cost that takes as long as the fixed part of a run: padding beyond it is dearer than another run."""
        return self._run_time.fixed_cost()

    def out_of_memory(self, rows: int, cost: float) -> None:
        """Memory ran out: never again so many rows; or where these differ in cost, never again so much of it."""
        if self._costs_differ:
            self.cost = min(self.cost, ROOM * cost)
        else:
            self._search.refuse(rows)
