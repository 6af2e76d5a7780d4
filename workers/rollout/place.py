"""Up to where a topic was read without a gap. Pure.

Faust may lose what it has fetched: as it resumes after a recovery it empties its queues, into which it may have put
records by then, and goes on behind them. So we keep the place ourselves, beside what was read, and go back to it.
"""

from typing import Final

# A gap that is there so often is one of the topic: records of a transaction leave such.
MOST_RETURNS: Final = 3


class Place:
    """`next` is the first offset that was not read."""

    def __init__(self, following: int) -> None:
        self.next = following
        self._refused = -1
        self._returns = 0

    def takes(self, offset: int) -> bool:
        """Whether a record is to be taken in. If not, some before it were missed: `go_back`."""
        if offset > self.next:
            # What was fetched before a return goes on coming for a while: only a step back is one.
            self._returns += offset <= self._refused
            self._refused = offset
            if self._returns < MOST_RETURNS:
                return False
        if offset >= self.next:
            self.next, self._refused, self._returns = offset + 1, -1, 0
        return True

    def go_back(self, earliest: int) -> int:
        """From where to read again; `earliest` is the first offset that there is."""
        self.next = max(self.next, earliest)
        return self.next
