"""Collecting micro-batches: each is formed when it is full, when its first item has waited long enough, or in time for
the earliest deadline. Pure.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from workers.inference.batching.compatibility import PLAIN, BatchCompatibility, largest
from workers.inference.batching.queue import Bounds, CompatibleQueue, Measured

# From the end of a run to its results' being published, and for being late with forming it.
MARGIN_S: Final = 0.01
# By so much of its run time may a micro-batch take longer for what it is filled up with.
FILLED_LONGER: Final = 0.25


class Limits(Protocol):
    """What bounds a micro-batch of one model version; it may change with every run."""

    @property
    def rows(self) -> int:
        """The most rows of the next micro-batch."""

    @property
    def cost(self) -> float:
        """The most cost of the next micro-batch, padding included; infinite where none is known."""

    def predicted_s(self, rows: int, cost: float) -> float | None:
        """How long a run takes; None while that is unknown."""

    def cost_within(self, seconds: float) -> float:
        """The most that a run may cost to take no longer than so many seconds; 0 while that is unknown."""

    def padding_worth(self) -> float | None:
        """The cost of padding that is as dear as the fixed part of one run; None while that is unknown."""


class Collected(Measured, Protocol):
    """What a batcher collects. Only items of one group may share a micro-batch."""

    @property
    def group(self) -> Hashable: ...


T = TypeVar("T", bound=Collected)


class Batcher(Generic[T]):
    """Items of one lane. Times are seconds of one clock.

    `limits` and `rules` bound a micro-batch, but a single item beyond them makes one alone: it is never split here.
    `queue_rows` bounds what may wait; beyond it `room` is zero, and fetching stops.
    """

    def __init__(
        self,
        limits: Limits,
        max_wait_s: float,
        queue_rows: int,
        rules: BatchCompatibility = PLAIN,
    ) -> None:
        self.limits = limits
        self.max_wait_s = max_wait_s
        self.queue_rows = queue_rows
        self._rules = rules
        self._groups: dict[Hashable, CompatibleQueue[T]] = {}
        self._added = 0
        self._count = 0
        self.rows = 0

    def __len__(self) -> int:
        return self._count

    @property
    def room(self) -> int:
        """How many more rows may wait."""
        return max(0, self.queue_rows - self.rows)

    @property
    def full(self) -> bool:
        """Whether the next micro-batch gains nothing by waiting for more."""
        return bool(self._groups) and self._full(self._next())

    def add(self, item: T, now: float, deadline: float) -> None:
        group = self._groups.get(item.group)
        if group is None:
            group = self._groups[item.group] = CompatibleQueue(self._rules)
        self._added += 1
        group.add(item, self._added, now, deadline)
        self._count += 1
        self.rows += item.rows

    def due_at(self) -> float | None:
        """When the next micro-batch is to be formed, or None where nothing waits. The past means: at once."""
        return self._due_at(self._next()) if self._groups else None

    def take(self) -> list[T]:
        """Form the micro-batch that is due first: the oldest item of a group, and others that go well with it."""
        taken = self._next().take(self._bounds(self.limits.cost))
        self._gone(taken)
        return taken

    def fill(self, others: Sequence[T], left_s: float) -> list[T]:
        """What comes along with a micro-batch of `others`, taken elsewhere: the items of their group that go well with
        them, in so far as the run takes hardly longer, and ends within the `left_s` that they have.

        While run times are unknown, that is none.
        """
        group = self._groups.get(others[0].group)
        if group is None:
            return []
        rows, size = sum([item.rows for item in others]), largest([item.size for item in others])
        run_s = self.limits.predicted_s(rows, self._rules.cost(rows, size))
        if run_s is None:
            return []
        cost = self.limits.cost_within(min(run_s * (1 + FILLED_LONGER), left_s - MARGIN_S))
        if not cost:
            return []
        taken = group.fill(others, self._bounds(min(cost, self.limits.cost)))
        self._gone(taken)
        return taken

    def _bounds(self, cost: float) -> Bounds:
        worth = self.limits.padding_worth() if self._rules.sized else None
        return Bounds(self.limits.rows, worth, cost)

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Forget the items that are `unwanted`; returns them."""
        dropped = [item for group in self._groups.values() for item in group.drop(unwanted)]
        self._gone(dropped)
        return dropped

    def _gone(self, items: Sequence[T]) -> None:
        self._count -= len(items)
        self.rows -= sum([item.rows for item in items])
        self._groups = {key: group for key, group in self._groups.items() if group}

    def _next(self) -> CompatibleQueue[T]:
        groups = self._groups.values()
        return next(iter(groups)) if len(groups) == 1 else min(groups, key=self._due_at)

    def _due_at(self, group: CompatibleQueue[T]) -> float:
        if self._full(group):
            return group.first_came
        run_s = self.limits.predicted_s(group.rows, group.cost)
        if run_s is None:
            return group.first_came + self.max_wait_s
        # Whoever comes just too late waits for one run. To wait longer than that for them costs more than it saves.
        due_at = group.first_came + min(self.max_wait_s, run_s)
        return max(group.first_came, min(due_at, group.earliest_deadline - run_s - MARGIN_S))

    def _full(self, group: CompatibleQueue[T]) -> bool:
        return group.rows >= self.limits.rows or group.cost >= min(self._rules.max_cost, self.limits.cost)
