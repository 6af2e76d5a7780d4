"""Which offsets may be committed: per partition, the low-water mark. Pure; knows no Kafka.

Records finish in any order. What is committed is the first offset of a partition that is not finished, so a
record is never skipped, and after a crash only what lies above the mark comes again. Every ownership of a
partition is an epoch: a record finished after its partition was lost, or lost and regained, changes nothing,
for a late commit is accepted by Kafka and would rewind or skip.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Partition(NamedTuple):
    topic: str
    number: int


class _Window:
    """The open offsets of one partition in one epoch."""

    __slots__ = ("committed", "epoch", "next", "pending")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.pending: dict[int, None] = {}  # insertion order is offset order
        self.next: int | None = None  # one past the last offset registered
        self.committed: int | None = None

    def mark(self) -> int | None:
        return next(iter(self.pending), self.next)


class OffsetTracker:
    """Open offsets of all partitions that this member owns."""

    def __init__(self) -> None:
        self._windows: dict[Partition, _Window] = {}
        self._epoch = 0

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Begin a new epoch for each of the partitions, with nothing open."""
        for partition in partitions:
            self._epoch += 1
            self._windows[partition] = _Window(self._epoch)

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Forget the partitions: nothing of them is committed any more."""
        for partition in partitions:
            self._windows.pop(partition, None)

    def register(self, partition: Partition, offsets: Iterable[int]) -> int | None:
        """Open the offsets, which must ascend. Returns the epoch, or None where the partition is not owned."""
        window = self._windows.get(partition)
        if window is None:
            return None
        for offset in offsets:
            window.pending[offset] = None
            window.next = offset + 1
        return window.epoch

    def owns(self, partition: Partition, epoch: int) -> bool:
        window = self._windows.get(partition)
        return window is not None and window.epoch == epoch

    def finish(self, partition: Partition, epoch: int, offsets: Iterable[int]) -> None:
        """Close the offsets, if the epoch is still the partition's."""
        window = self._windows.get(partition)
        if window is None or window.epoch != epoch:
            return
        for offset in offsets:
            window.pending.pop(offset, None)

    def open_count(self, partition: Partition | None = None) -> int:
        """How many offsets are open, in one partition or in all."""
        if partition is None:
            return sum(len(window.pending) for window in self._windows.values())
        window = self._windows.get(partition)
        return len(window.pending) if window else 0

    def span(self, partition: Partition) -> int:
        """How far the last offset fetched lies beyond the mark: what would come again after a crash."""
        window = self._windows.get(partition)
        mark = window.mark() if window else None
        return 0 if window is None or mark is None or window.next is None else window.next - mark

    def next_offset(self, partition: Partition) -> int | None:
        """One past the last offset registered in this epoch; None where none was, or the partition is not owned."""
        window = self._windows.get(partition)
        return window.next if window else None

    def partitions(self) -> list[Partition]:
        return list(self._windows)

    def to_commit(self) -> dict[Partition, int]:
        """The marks that have moved since they were last committed."""
        marks = {partition: window.mark() for partition, window in self._windows.items()}
        return {
            partition: mark
            for partition, mark in marks.items()
            if mark is not None and mark != self._windows[partition].committed
        }

    def committed(self, marks: Mapping[Partition, int]) -> None:
        """Remember what the broker has accepted."""
        for partition, mark in marks.items():
            if partition in self._windows:
                self._windows[partition].committed = mark
