"""The last full runs of one size of micro-batch, and what is usual among them. Pure."""

from collections import deque
from itertools import islice
from math import sqrt
from typing import Final

from workers.inference.batching.adaptive.run_time_model import RunTimeModel

# Numbers of runs of each of two sizes after which these are compared; at the last there must be a decision.
LOOK_AFTER: Final = frozenset({1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128})
LAST_LOOK: Final = max(LOOK_AFTER)
# A relative difference is clear at once if it is larger than this, and after n runs each if larger than
# CLEAR / sqrt(n): five standard errors where runs of one size differ by a tenth.
CLEAR: Final = 0.5


class SizeSamples:
    """Runs that had the size, or nearly."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self._runs: deque[tuple[float, float]] = deque(maxlen=LAST_LOOK)

    def add(self, cost: float, seconds: float) -> None:
        self.count += 1
        self._runs.append((cost, seconds))

    def usual_s(self, cost: float, run_time: RunTimeModel, of_last: int = LAST_LOOK) -> float:
        """How long a run of this cost takes: the mean of the middle half; of few the smaller, as hiccups only ever add.

        Runs that cost more or less are brought to `cost` along the line of all runs; what is left is the size's own.
        """
        expected_s = run_time.predicted_s(cost)
        seconds = sorted(
            seconds * (cost / its_cost if expected_s is None else expected_s / (run_time.predicted_s(its_cost) or 1.0))
            for its_cost, seconds in islice(reversed(self._runs), of_last)
        )
        quarter = len(seconds) // 4
        middle = seconds[quarter : max(quarter + 1, len(seconds) - max(1, quarter))]
        return sum(middle) / len(middle)


def clear_difference(count: int) -> float:
    """The relative difference that counts after so many runs; zero when there must be a decision."""
    return 0.0 if count >= LAST_LOOK else CLEAR / sqrt(count)
