"""What waits and may share a micro-batch: items of one group, in order of arrival within each size. Pure.

Where all are of one size, a micro-batch is the oldest of them. Where sizes differ, it is the oldest one with its
nearest neighbors in size, as long as padding is worth it. The padding of a micro-batch grows with the square of its
items, and all that it saves is the fixed part of one more run: as in the economic order quantity, the least is spent
in all where the two are equal.
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from workers.inference.batching.compatibility import BatchCompatibility, Size, largest

# Padding up to this share of what is padded is not worth a run more, whatever is said: run times are not known so well.
FREE_PADDING: Final = 1 / 16


# Deadlines of items that do not wait any more are kept until they come first, or there are many of them.
MOST_GONE: Final = 1024


class Measured(Protocol):
    """What is collected: something that holds rows of one size."""

    @property
    def rows(self) -> int: ...

    @property
    def size(self) -> Size: ...


T = TypeVar("T", bound=Measured)


class _Entry(NamedTuple, Generic[T]):
    """An item that waits, its number in order of arrival, when it came, its deadline, and what of it is counted."""

    item: T
    number: int
    came: float
    deadline: float
    rows: int
    size: Size


_Queue = deque[_Entry[T]]


class Bounds(NamedTuple):
    """Of the next micro-batch: its rows, the cost of padding that one run more would be worth, if it is known, and its
    cost.
    """

    rows: int
    padding_worth: float | None = None
    cost: float = math.inf


class CompatibleQueue(Generic[T]):
    """Items of one group. Times are seconds of one clock; those of nothing are infinite."""

    __slots__ = ("_charged", "_deadlines", "_gone", "_queues", "_rules", "first_came", "rows")

    def __init__(self, rules: BatchCompatibility) -> None:
        self._rules = rules
        self._queues: dict[Size, _Queue[T]] = {}
        self._charged = 0.0  # the items' cost, where rows differ in theirs
        self._deadlines: list[tuple[float, int]] = []  # a heap, with the numbers of the items
        self._gone: set[int] = set()  # of these, the items that do not wait any more
        self.rows = 0
        self.first_came = math.inf

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def cost(self) -> float:
        """Before any padding."""
        return self._charged if self._rules.charged else self.rows * self._rules.unit

    @property
    def earliest_deadline(self) -> float:
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] in self._gone:
            self._gone.remove(heappop(deadlines)[1])
        return deadlines[0][0] if deadlines else math.inf

    def add(self, item: T, number: int, now: float, deadline: float) -> None:
        entry = _Entry(item, number, now, deadline, item.rows, item.size)
        queue = self._queues.get(entry.size)
        if queue is None:
            if not self._queues:
                self.first_came = now
            queue = self._queues[entry.size] = deque()
        queue.append(entry)
        self.rows += entry.rows
        heappush(self._deadlines, (deadline, number))
        if entry.size:
            self._charged += entry.rows * self._rules.row_cost(entry.size)

    def take(self, bounds: Bounds) -> list[T]:
        """The items of the next micro-batch, at least one."""
        taken = self._take_oldest(bounds) if len(self._queues) == 1 else self._take_neighbors(bounds)
        self._subtract(taken)
        return [entry.item for entry in taken]

    def fill(self, others: Sequence[T], bounds: Bounds) -> list[T]:
        """The items that may join a micro-batch of `others` of this group, the nearest in size first; maybe none."""
        growing = _Growing[T](self._rules, bounds)
        for item in others:
            growing.add(item)
        sizes = sorted(self._queues, key=self._rules.row_cost)
        larger = bisect_right(sizes, self._rules.row_cost(growing.size), key=self._rules.row_cost)
        taken = self._grow(growing, sizes, larger)
        self._subtract(taken)
        return [entry.item for entry in taken]

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Forget the items that are `unwanted`; returns them."""
        dropped: list[_Entry[T]] = []
        for size, queue in self._queues.items():
            kept: _Queue[T] = deque()
            for entry in queue:
                (dropped if unwanted(entry.item) else kept).append(entry)
            self._queues[size] = kept
        self._subtract(dropped)
        return [entry.item for entry in dropped]

    def _take_oldest(self, bounds: Bounds) -> list[_Entry[T]]:
        ((size, queue),) = self._queues.items()
        most_rows = self._rules.most_rows(bounds.rows, size, bounds.cost)
        taken = [queue.popleft()]
        rows = taken[0].rows
        while queue and rows + queue[0].rows <= most_rows:
            taken.append(queue.popleft())
            rows += taken[-1].rows
        return taken

    def _take_neighbors(self, bounds: Bounds) -> list[_Entry[T]]:
        sizes = sorted(self._queues, key=self._rules.row_cost)
        here = sizes.index(min(sizes, key=lambda size: self._queues[size][0].number))
        oldest = self._queues[sizes[here]].popleft()
        growing = _Growing[T](self._rules, bounds)
        growing.add(oldest.item)
        # The oldest's own size begins one of the sides: it costs no padding, and so is used up first.
        return [oldest, *self._grow(growing, sizes, here + 1)]

    def _grow(self, growing: "_Growing[T]", sizes: Sequence[Size], larger: int) -> list[_Entry[T]]:
        """What joins the micro-batch: neighbors from both sides of its size, those from `larger` on being larger."""
        sides = [_Side(sizes[:larger][::-1], self._queues), _Side(sizes[larger:], self._queues)]
        taken: list[_Entry[T]] = []
        while True:
            paddings = [growing.padding_with(side.head) for side in sides]
            least = min(paddings)
            if least == math.inf:
                return taken
            taken.append(sides[paddings.index(least)].take())
            growing.add(taken[-1].item)

    def _subtract(self, gone: Iterable[_Entry[T]]) -> None:
        """Count without what has been taken out of the queues."""
        self._queues = {size: queue for size, queue in self._queues.items() if queue}
        self.first_came = min([queue[0].came for queue in self._queues.values()], default=math.inf)
        for entry in gone:
            self.rows -= entry.rows
            if entry.size:
                self._charged -= entry.rows * self._rules.row_cost(entry.size)
            self._gone.add(entry.number)
        if not self._queues:
            self._charged = 0.0  # without what rounding has left
        if len(self._gone) > len(self._deadlines) // 2 + MOST_GONE:  # behind one that still waits
            self._deadlines = [each for each in self._deadlines if each[1] not in self._gone]
            heapify(self._deadlines)
            self._gone.clear()


class _Side(Generic[T]):
    """The sizes on one side of the oldest item's, the nearest first. Within a size the oldest goes first."""

    def __init__(self, sizes: Sequence[Size], queues: Mapping[Size, _Queue[T]]) -> None:
        self._queues = [queues[size] for size in reversed(sizes) if queues[size]]

    @property
    def head(self) -> _Entry[T] | None:
        return self._queues[-1][0] if self._queues else None

    def take(self) -> _Entry[T]:
        entry = self._queues[-1].popleft()
        if not self._queues[-1]:
            self._queues.pop()
        return entry


class _Growing(Generic[T]):
    """A micro-batch to which items are added as long as that is allowed and worth its padding."""

    def __init__(self, rules: BatchCompatibility, bounds: Bounds) -> None:
        self._rules = rules
        self._bounds = bounds
        self.size: Size = ()
        self._rows = 0
        self._cost = 0.0  # without padding

    def add(self, item: T) -> None:
        size = item.size
        self.size = self._size_with(size)
        self._rows += item.rows
        self._cost += item.rows * self._rules.row_cost(size)

    def padding_with(self, entry: _Entry[T] | None) -> float:
        """The cost of all padding if the item came along; infinite if it may not."""
        if entry is None:
            return math.inf
        size, rows = self._size_with(entry.size), self._rows + entry.rows
        if rows > self._rules.most_rows(self._bounds.rows, size, self._bounds.cost):
            return math.inf
        row_cost = self._rules.row_cost(size)
        without = self._cost + entry.rows * self._rules.row_cost(entry.size)
        padding = rows * row_cost - without
        # As long as nothing is known of a run's fixed part, it is taken to be worth one row.
        worth = row_cost if self._bounds.padding_worth is None else self._bounds.padding_worth
        return padding if padding <= max(worth, without * FREE_PADDING) else math.inf

    def _size_with(self, size: Size) -> Size:
        return largest([self.size, size]) if self.size else size
