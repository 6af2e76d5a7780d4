"""Which parts of a stack were away in a chaos run, and when."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Away(NamedTuple):
    """From the first signal to the answer of the part that was started again. Seconds of `time.monotonic`."""

    part: str
    from_s: float
    until_s: float

    def overlaps(self, from_s: float, until_s: float) -> bool:
        return self.from_s < until_s and from_s < self.until_s


class Journal:
    """Written by whoever breaks the stack. A part that is hit again before it is back has been away once."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._since_s: dict[str, float] = {}
        self._over: list[Away] = []

    def gone(self, part: str) -> None:
        if part not in self._since_s:
            self._since_s[part] = self._now_s()

    def back(self, part: str) -> None:
        self._over.append(Away(part, self._since_s.pop(part), self._now_s()))

    @property
    def away(self) -> list[Away]:
        """All of them, by time; those that are not over end now."""
        now_s = self._now_s()
        return sorted(
            [*self._over, *(Away(part, since_s, now_s) for part, since_s in self._since_s.items())],
            key=lambda each: each.from_s,
        )
