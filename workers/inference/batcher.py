"""Collecting a micro-batch: closed when it is full, or when its first item has waited long enough. Pure."""

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What a batcher collects: something that holds rows."""

    @property
    def rows(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Batcher(Generic[T]):
    """Items of one lane, in order of arrival. Times are seconds of one clock.

    `max_rows` bounds a micro-batch, but a single item larger than that makes one alone: it is never split here.
    `queue_rows` bounds what may wait; beyond it `room` is zero, and fetching stops.
    """

    def __init__(self, max_rows: int, max_wait_s: float, queue_rows: int) -> None:
        self.max_rows = max_rows
        self.max_wait_s = max_wait_s
        self.queue_rows = queue_rows
        self._waiting: deque[tuple[T, float]] = deque()
        self._rows = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def room(self) -> int:
        """How many more rows may wait."""
        return max(0, self.queue_rows - self._rows)

    @property
    def full(self) -> bool:
        return self._rows >= self.max_rows

    def add(self, item: T, now: float) -> None:
        self._waiting.append((item, now))
        self._rows += item.rows

    def due_at(self) -> float | None:
        """When the next micro-batch is to be closed, or None where nothing waits. The past means: at once."""
        if not self._waiting:
            return None
        first_came = self._waiting[0][1]
        return first_came if self.full else first_came + self.max_wait_s

    def take(self) -> list[T]:
        """Close a micro-batch: the oldest items that fit into `max_rows` together, at least one."""
        taken: list[T] = []
        rows = 0
        while self._waiting and (not taken or rows + self._waiting[0][0].rows <= self.max_rows):
            item, _ = self._waiting.popleft()
            rows += item.rows
            taken.append(item)
        self._rows -= rows
        return taken

    def drop(self, unwanted: Callable[[T], bool]) -> int:
        """Forget the items that are `unwanted`; returns how many."""
        kept = deque(entry for entry in self._waiting if not unwanted(entry[0]))
        dropped = len(self._waiting) - len(kept)
        self._waiting = kept
        self._rows = sum(item.rows for item, _ in kept)
        return dropped
