"""Places that tenants share, each leaving room for those who come later.

A tenant takes no further one once it has twice as many as are free: alone it gets two thirds of them, and each of two
gets two fifths. That is the dynamic threshold of shared buffers (Choudhury and Hahne, "Dynamic queue length thresholds
for shared-memory packet switches", 1998).
"""

import math
from collections import Counter
from collections.abc import Collection
from typing import Final

# Of what is free, so much may a tenant have.
OF_FREE: Final = 2


class Shares:
    """So many `places`, and how many of them each tenant has."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken: Counter[str] = Counter()
        self._free = places

    @property
    def room(self) -> int:
        """How many may be taken at once, by whomever: half of those that are free, so that one tenant that takes all
        of these leaves some."""
        return max(0, math.ceil(self._free / 2))

    def crowding(self) -> Collection[str]:
        """The tenants that may take none for now."""
        return {tenant for tenant, taken in self._taken.items() if taken >= OF_FREE * self._free}

    def take(self, tenant: str) -> None:
        self._taken[tenant] += 1
        self._free -= 1

    def give_back(self, tenant: str) -> None:
        self._free += 1
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
