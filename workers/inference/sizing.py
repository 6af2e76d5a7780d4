"""How many rows the next micro-batch of a model version may have. Pure; one for both lanes of a version.

Docs: docs/decisions/0008-batch-size.md says why it is done so.
"""

from workers.inference.run_time import RunTime
from workers.inference.size_search import SizeSearch


class BatchSizer:
    """Starts small, and grows as far as that pays: to `ceiling` rows at most, with runs of `target_s` at most.

    Not `adaptive`, it is the ceiling from the start, until memory runs out.
    """

    def __init__(self, ceiling: int, *, target_s: float | None = None, adaptive: bool = True) -> None:
        self._adaptive = adaptive
        self._run_time = RunTime()
        self._cost_a_row = 1.0
        self._search = SizeSearch(ceiling, target_s, self._expected_s)
        if not adaptive:
            self._search.start_at(ceiling)

    @property
    def rows(self) -> int:
        """The most rows of the next micro-batch."""
        return self._search.size

    def observe(self, rows: int, cost: float, seconds: float) -> None:
        """Learn from one run of the model, or of nearly the whole turn, that went well. `cost` includes padding."""
        if rows < 1 or cost <= 0 or seconds <= 0:
            return
        self._run_time.observe(cost, seconds)
        self._cost_a_row += (cost / rows - self._cost_a_row) / 20
        if self._adaptive:
            self._search.ran(rows, seconds)

    def predicted_s(self, rows: int, cost: float) -> float | None:
        """How long a run takes; None until enough were seen."""
        return self._run_time.predicted_s(cost)

    def padding_worth(self) -> float | None:
        """The cost that takes as long as the fixed part of a run: more padding than this is dearer than one run more."""
        return self._run_time.fixed_cost()

    def out_of_memory(self, rows: int) -> None:
        """Memory ran out with so many rows: never again so many."""
        self._search.refuse(rows)

    def _expected_s(self, rows: int) -> float | None:
        return self._run_time.predicted_s(rows * self._cost_a_row)
