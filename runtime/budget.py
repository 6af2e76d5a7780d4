"""How much memory a process may hold of what others send: heads, bodies, pixels, rows. One budget a process.

What is held is counted where it arises, for as long as it is held. Thread-safe: large bodies and images are unpacked in
threads.
"""

import threading
from types import TracebackType
from typing import Final

from prometheus_client import Gauge

from schemas.errors import Unavailable

RETRY_AFTER_S: Final = 1.0
# While an input is read, its values are Python objects: as many times its size as short values in JSON come to.
READ_FACTOR: Final = 80

BUDGET_BYTES = Gauge("penstock_memory_budget_bytes", "What the process may hold of what others sent")
HELD_BYTES = Gauge("penstock_memory_held_bytes", "What the process holds of what others sent, by what it is", ["use"])


class MemoryBudget:
    """At most `limit_bytes` are held at a time, over all uses. Whoever is refused has to wait, or to be told so."""

    def __init__(self, limit_bytes: int, *, shown: bool = True) -> None:
        """`shown` as the process's metric; a part with a small budget of its own is not."""
        self.limit_bytes = limit_bytes
        self._held_bytes = 0
        self._by_use: dict[str, int] = {}
        self._lock = threading.Lock()
        self._shown = shown
        if shown:
            BUDGET_BYTES.set(limit_bytes)

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def hold(self, use: str) -> "Holding":
        """A place to count what is held for `use` (a label of the metric: one of a few words). Holds nothing yet."""
        if use not in self._by_use:
            self._by_use[use] = 0
            if self._shown:
                HELD_BYTES.labels(use).set_function(lambda: self._by_use[use])
        return Holding(self, use)

    def take(self, payload_bytes: int, use: str) -> bool:
        """Whether there was room for so many bytes more; they are then held until given back."""
        with self._lock:
            if self._held_bytes + payload_bytes > self.limit_bytes:
                return False
            self._held_bytes += payload_bytes
            self._by_use[use] += payload_bytes
        return True

    def give_back(self, payload_bytes: int, use: str) -> None:
        with self._lock:
            self._held_bytes -= payload_bytes
            self._by_use[use] -= payload_bytes


class Holding:
    """What one request or record holds. Used as a context, it gives everything back at its end."""

    __slots__ = ("_budget", "_use", "held_bytes")

    def __init__(self, budget: MemoryBudget, use: str) -> None:
        self._budget = budget
        self._use = use
        self.held_bytes = 0

    def __enter__(self) -> "Holding":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def grow(self, payload_bytes: int) -> None:
        """Hold so many bytes more. Raises `Unavailable` where the budget has no room; what is held stays held."""
        if not self._budget.take(payload_bytes, self._use):
            raise Unavailable("The process holds as much as it may: try again.", retry_after_s=RETRY_AFTER_S)
        self.held_bytes += payload_bytes

    def count(self, payload_bytes: int) -> None:
        """Exactly so many bytes are held now, whether there is room for them or not: they are there already. Whoever
        counts them takes no more while there is none."""
        self._budget.give_back(self.held_bytes - payload_bytes, self._use)
        self.held_bytes = payload_bytes

    def resize(self, payload_bytes: int) -> None:
        """Hold exactly so many bytes. Raises `Unavailable` where that is more than there is room for."""
        more_bytes = payload_bytes - self.held_bytes
        if more_bytes > 0:
            self.grow(more_bytes)
        elif more_bytes:
            self.held_bytes = payload_bytes
            self._budget.give_back(-more_bytes, self._use)

    def release(self) -> None:
        """Give everything back."""
        held_bytes, self.held_bytes = self.held_bytes, 0
        if held_bytes:
            self._budget.give_back(held_bytes, self._use)
