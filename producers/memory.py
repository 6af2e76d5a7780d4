"""The in-memory twin of the queue: a log of records, for unit tests."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from producers.kafka_publisher import partition_of, record_bytes, room_bytes
from schemas.errors import PayloadTooLarge, PenstockError
from schemas.records import OutRecord


class MemoryLog:
    """Topics of `partitions` partitions each, kept for ever. Also a `producers.protocols.Publisher`.

    `fail_next` holds what the next records meet instead of being written: an error each, or None to be written.
    What is in `on_write` is called after each record.
    """

    def __init__(self, partitions: int = 4, max_record_bytes: int = 4 * 1024 * 1024) -> None:
        self.partitions = partitions
        self.max_record_bytes = max_record_bytes
        self.topics: defaultdict[str, list[list[OutRecord]]] = defaultdict(lambda: [[] for _ in range(partitions)])
        self.fail_next: list[PenstockError | None] = []
        self.on_write: list[Callable[[], None]] = []

    def records(self, topic: str) -> list[OutRecord]:
        """Everything written to the topic, partition by partition."""
        return [record for partition in self.topics[topic] for record in partition]

    async def publish(self, record: OutRecord) -> None:
        (outcome,) = await self.publish_all((record,))
        if outcome is not None:
            raise outcome

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        return [self._write(record) for record in records]

    def _write(self, record: OutRecord) -> PenstockError | None:
        if self.fail_next and (error := self.fail_next.pop(0)) is not None:
            return error
        if record_bytes(record) > self.max_record_bytes + room_bytes(record):
            return PayloadTooLarge(f"the record is larger than {self.max_record_bytes} bytes")
        number = record.partition if record.partition is not None else partition_of(record.key or b"", self.partitions)
        self.topics[record.topic][number].append(record)
        for wake in self.on_write:
            wake()
        return None
