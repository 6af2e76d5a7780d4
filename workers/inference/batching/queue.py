"""What waits and may share a micro-batch: items of one group, in order of arrival within each size. Pure.

Where all are of one size, a micro-batch is the oldest of them. Where sizes differ, it is the oldest one with its
nearest neighbors in size, as long as padding is worth it. The padding of a micro-batch grows with the square of its
items, and all that it spares is the fixed part of one more run: as in the economic order quantity, the least is spent
in all where the two are equal.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from workers.inference.batching.compatibility import BatchCompatibility, Size

# Padding up to this share of what is padded is not worth a run more, whatever is said: run times are not known so well.
FREE_PADDING: Final = 1 / 16


class Measured(Protocol):
    """What is collected: something that holds rows of one size."""

    @property
    def rows(self) -> int: ...

    @property
    def size(self) -> Size: ...

    @property
    def payload_bytes(self) -> int: ...


T = TypeVar("T", bound=Measured)
# An item, its rows and bytes, its number in order of arrival, when it came, its deadline.
_Queue = deque[tuple[T, int, int, int, float, float]]


class Bounds(NamedTuple):
    """Of the next micro-batch: its rows, the cost of padding that one run more would be worth, if it is known, and its
    cost.
    """

    rows: int
    padding_worth: float | None = None
    cost: float = math.inf


class CompatibleQueue(Generic[T]):
    """Items of one group. Times are seconds of one clock; those of nothing are infinite."""

    __slots__ = ("_charged", "_queues", "_rules", "bytes", "first_came", "rows")

    def __init__(self, rules: BatchCompatibility) -> None:
        self._rules = rules
        self._queues: dict[Size, _Queue[T]] = {}
        self._charged = 0.0  # the items' cost, where rows differ in theirs
        self.rows = 0
        self.bytes = 0
        self.first_came = math.inf

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def cost(self) -> float:
        """Before any padding."""
        return self._charged if self._rules.charged else self.rows * self._rules.unit

    @property
    def earliest_deadline(self) -> float:
        return min([entry[5] for queue in self._queues.values() for entry in queue], default=math.inf)

    def add(self, item: T, number: int, now: float, deadline: float) -> None:
        size, rows, payload_bytes = item.size, item.rows, item.payload_bytes
        queue = self._queues.get(size)
        if queue is None:
            if not self._queues:
                self.first_came = now
            queue = self._queues[size] = deque()
        queue.append((item, rows, payload_bytes, number, now, deadline))
        self.rows += rows
        self.bytes += payload_bytes
        if size:
            self._charged += rows * self._rules.row_cost(size)

    def take(self, bounds: Bounds) -> list[T]:
        """The items of the next micro-batch, at least one."""
        taken = self._take_oldest(bounds) if len(self._queues) == 1 else self._take_neighbors(bounds)
        self._look_again()
        return taken

    def drop(self, unwanted: Callable[[T], bool]) -> int:
        """Forget the items that are `unwanted`; returns how many."""
        dropped = 0
        for size, queue in self._queues.items():
            kept = deque(entry for entry in queue if not unwanted(entry[0]))
            dropped += len(queue) - len(kept)
            self._queues[size] = kept
        self._look_again()
        return dropped

    def _take_oldest(self, bounds: Bounds) -> list[T]:
        ((size, queue),) = self._queues.items()
        most_rows = self._rules.most_rows(bounds.rows, size, bounds.cost)
        taken = [queue[0][0]]
        rows = queue.popleft()[1]
        while queue and rows + queue[0][1] <= most_rows:
            item, more, *_ = queue.popleft()
            rows += more
            taken.append(item)
        return taken

    def _take_neighbors(self, bounds: Bounds) -> list[T]:
        sizes = sorted(self._queues, key=self._rules.row_cost)
        here = sizes.index(min(sizes, key=lambda size: self._queues[size][0][3]))
        # The oldest's own size begins one of the sides: it costs no padding, and so is used up first.
        sides = [_Side(sizes[here::-1], self._queues), _Side(sizes[here + 1 :], self._queues)]
        growing = _Growing[T](self._rules, bounds)
        growing.add(sides[0].take())
        while True:
            paddings = [growing.padding_with(side.head) for side in sides]
            least = min(paddings)
            if least == math.inf:
                return growing.items
            growing.add(sides[paddings.index(least)].take())

    def _look_again(self) -> None:
        """Count what is left."""
        self._queues = queues = {size: queue for size, queue in self._queues.items() if queue}
        self.rows = sum([entry[1] for queue in queues.values() for entry in queue])
        self.bytes = sum([entry[2] for queue in queues.values() for entry in queue])
        self.first_came = min([queue[0][4] for queue in queues.values()], default=math.inf)
        if self._rules.charged:
            row_cost = self._rules.row_cost
            self._charged = sum([row_cost(size) * sum([entry[1] for entry in q]) for size, q in queues.items()])


class _Side(Generic[T]):
    """The sizes on one side of the oldest item's, the nearest first. Within a size the oldest goes first."""

    def __init__(self, sizes: Sequence[Size], queues: Mapping[Size, _Queue[T]]) -> None:
        self._queues = [queues[size] for size in reversed(sizes)]

    @property
    def head(self) -> T | None:
        return self._queues[-1][0][0] if self._queues else None

    def take(self) -> T:
        item = self._queues[-1].popleft()[0]
        if not self._queues[-1]:
            self._queues.pop()
        return item


class _Growing(Generic[T]):
    """A micro-batch to which items are added as long as that is allowed and worth its padding."""

    def __init__(self, rules: BatchCompatibility, bounds: Bounds) -> None:
        self._rules = rules
        self._bounds = bounds
        self.items: list[T] = []
        self._size: Size = ()
        self._rows = 0
        self._cost = 0.0  # without padding

    def add(self, item: T) -> None:
        self._size = self._size_with(item)
        self.items.append(item)
        self._rows += item.rows
        self._cost += item.rows * self._rules.row_cost(item.size)

    def padding_with(self, item: T | None) -> float:
        """The cost of all padding if the item came along; infinite if it may not."""
        if item is None:
            return math.inf
        size, rows = self._size_with(item), self._rows + item.rows
        if rows > self._rules.most_rows(self._bounds.rows, size, self._bounds.cost):
            return math.inf
        row_cost = self._rules.row_cost(size)
        without = self._cost + item.rows * self._rules.row_cost(item.size)
        padding = rows * row_cost - without
        # As long as nothing is known of a run's fixed part, it is taken to be worth one row.
        worth = row_cost if self._bounds.padding_worth is None else self._bounds.padding_worth
        return padding if padding <= max(worth, without * FREE_PADDING) else math.inf

    def _size_with(self, item: T) -> Size:
        return tuple(map(max, self._size, item.size)) if self.items else item.size
