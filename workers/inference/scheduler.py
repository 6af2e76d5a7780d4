"""Which lane's micro-batch runs next. Pure.

Live before bulk, but every `BULK_EVERY`-th turn is bulk's if it has something: a backlog of one never stops
the other. Within a class, the micro-batch that has been due longest goes first.

While the device is busy, the next micro-batch is closed ahead only if it is full: any other gains by staying open.
Nor is another closed in its stead, which would then be in its way.
"""

from collections.abc import Hashable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from schemas.topics import LaneClass

BULK_EVERY: Final = 8

K = TypeVar("K", bound=Hashable)


class Candidate(NamedTuple, Generic[K]):
    """A lane with something waiting: its micro-batch is to be closed at `due_at` (seconds), and may be `full`."""

    lane: K
    cls: LaneClass
    due_at: float
    full: bool = False


class Scheduler(Generic[K]):
    def __init__(self) -> None:
        self._turns_without_bulk = 0

    def choose(self, candidates: Sequence[Candidate[K]], now: float, *, busy: bool = False) -> K | None:
        """The lane to take a micro-batch from, or None while there is none to be closed."""
        due = [candidate for candidate in candidates if candidate.due_at <= now]
        if not due:
            return None
        bulk = [candidate for candidate in due if candidate.cls is LaneClass.BULK]
        live = [candidate for candidate in due if candidate.cls is LaneClass.LIVE]
        take_bulk = bool(bulk) and (not live or self._turns_without_bulk >= BULK_EVERY - 1)
        chosen = min(bulk if take_bulk else live, key=lambda candidate: candidate.due_at)
        if busy and not chosen.full:
            return None
        self._turns_without_bulk = self._turns_without_bulk + 1 if bulk and not take_bulk else 0
        return chosen.lane

    @staticmethod
    def next_due(candidates: Sequence[Candidate[K]]) -> float | None:
        """When the earliest micro-batch is due, or None where nothing waits."""
        return min((candidate.due_at for candidate in candidates), default=None)
