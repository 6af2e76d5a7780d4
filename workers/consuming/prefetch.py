"""What the consumers of a process may fetch ahead of being asked, shared out among them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from runtime.budget import MemoryBudget
from workers.consuming.group_client import ConsumingLimits

# Of the budget, for all consumers together.
PREFETCH_SHARE: Final = 0.25
# A record that is larger is fetched all the same, by itself.
LEAST_FETCH_BYTES: Final = 32 * 1024


class PrefetchShares:
    """Each consumer takes at most half of what the others left, and counts it as held for as long as it consumes."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._left_bytes = int(budget.limit_bytes * PREFETCH_SHARE)

    @contextmanager
    def limits(self, partitions: int) -> Iterator[ConsumingLimits]:
        """The limits of a consumer of a topic with so many partitions, until it has left."""
        fair_bytes = max(LEAST_FETCH_BYTES, self._left_bytes // 2 // partitions)
        limits = ConsumingLimits(partition_fetch_bytes=min(ConsumingLimits().partition_fetch_bytes, fair_bytes))
        share_bytes = limits.partition_fetch_bytes * partitions
        self._left_bytes -= share_bytes
        with self._budget.hold("prefetch") as holding:
            holding.count(share_bytes)
            try:
                yield limits
            finally:
                self._left_bytes += share_bytes
