"""What has left a control topic a moment ago, and how long that is remembered."""

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Final, Generic, TypeVar

# A version that is unloaded, loaded again, or whose worker starts again is back by then, or reported by a worker.
LEFT_FOR_S: Final = 180.0

T = TypeVar("T", bound=Hashable)


class LeftLately(Generic[T]):
    """What has left within the last `LEFT_FOR_S` seconds, be it back by now or not. `there` gives what is there now.

    The topic also tells what left long ago, whenever it is read from its beginning; as its `Reading` this hears of it.
    """

    def __init__(self, clock_s: Callable[[], float], there: Callable[[], Iterable[T]]) -> None:
        self._clock_s = clock_s
        self._there = there
        self._at_s: dict[T, float] = {}
        self._before: frozenset[T] | None = None  # what was there when the reading began that goes on

    def begun(self) -> None:
        if self._before is None:  # else the reading before was broken off, and has shown what left long ago
            self._before = frozenset(self._there())

    def ended(self) -> None:
        self._before = None

    def leave(self, names: Iterable[T]) -> None:
        """These are there no more."""
        fresh = names if self._before is None else self._before.intersection(names)  # the others left long ago
        self._at_s = self._young() | dict.fromkeys(fresh, self._clock_s())

    def names(self) -> Collection[T]:
        self._at_s = self._young()
        return self._at_s.keys()

    def _young(self) -> dict[T, float]:
        since_s = self._clock_s() - LEFT_FOR_S
        return {name: at_s for name, at_s in self._at_s.items() if at_s > since_s}
