"""The in-memory twin of a consumer group, over `producers.memory.MemoryLog`: for tests, and to say what we rely on."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from producers.memory import MemoryLog
from workers.consuming.offsets import OffsetTracker, Partition
from workers.consuming.protocols import Record


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryGroup:
    """A consumer group: what it has committed, and who its members are.

    Members come and go at once, without the grace that Kafka's get to finish what they have begun: every join and
    leave is a new epoch for all, and open records come again.
    """

    def __init__(self, log: MemoryLog, topics: Sequence[str], clock_ms: Callable[[], int] = _now_ms) -> None:
        self.log = log
        self.committed: dict[Partition, int] = {}
        self.clock_ms = clock_ms
        self._members: list[MemoryConsumer] = []
        self._partitions = [Partition(topic, number) for topic in topics for number in range(log.partitions)]

    def member(self) -> "MemoryConsumer":
        """A member to be: it joins on entering and leaves on exit."""
        return MemoryConsumer(self)

    def join(self, member: "MemoryConsumer") -> None:
        self._members.append(member)
        self._share_out()

    def leave(self, member: "MemoryConsumer") -> None:
        member.lose_all()
        self._members.remove(member)
        self._share_out()

    def _share_out(self) -> None:
        for member in self._members:
            member.lose_all()
        for index, member in enumerate(self._members):
            member.receive(self._partitions[index :: len(self._members)])


class MemoryConsumer:
    """`workers.consuming.protocols.Consumer` in memory. What is done is committed at once."""

    def __init__(self, group: MemoryGroup) -> None:
        self._group = group
        self._tracker = OffsetTracker()
        self._positions: dict[Partition, int] = {}
        self._written = asyncio.Event()

    async def __aenter__(self) -> "MemoryConsumer":
        self._group.log.on_write.append(self._written.set)
        self._group.join(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.leave(self)
        self._group.log.on_write.remove(self._written.set)

    @property
    def open_count(self) -> int:
        return self._tracker.open_count()

    def receive(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._tracker.assign([partition])
            self._positions[partition] = self._group.committed.get(partition, 0)
        self._written.set()

    def lose_all(self) -> None:
        self._tracker.revoke(self._tracker.partitions())
        self._positions.clear()

    async def fetch(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._written.clear()
                    records = self._take(max_records)
                    if records:
                        return records
                    await self._written.wait()
        except TimeoutError:
            return []

    def done(self, records: Iterable[Record]) -> None:
        for record in records:
            self._tracker.finish(Partition(record.topic, record.partition), record.epoch, [record.offset])
        marks = self._tracker.to_commit()
        self._group.committed |= marks
        self._tracker.committed(marks)

    def owns(self, record: Record) -> bool:
        return self._tracker.owns(Partition(record.topic, record.partition), record.epoch)

    def _take(self, max_records: int) -> list[Record]:
        records: list[Record] = []
        for partition, position in self._positions.items():
            stored = self._group.log.topics[partition.topic][partition.number]
            offsets = range(position, min(len(stored), position + max_records - len(records)))
            epoch = self._tracker.register(partition, offsets)
            assert epoch is not None  # noqa: S101 - a position is kept of owned partitions only
            self._positions[partition] = offsets.stop if offsets else position
            for offset in offsets:
                out = stored[offset]
                records.append(
                    Record(
                        partition.topic,
                        partition.number,
                        offset,
                        epoch,
                        out.key,
                        out.value,
                        tuple(out.headers),
                        self._group.clock_ms(),
                    )
                )
        return records
