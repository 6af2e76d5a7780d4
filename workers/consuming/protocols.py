"""What a consuming role asks of the queue's reading end. Kafka answers, and an in-memory twin."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """A fetched record. `epoch` tells one ownership of its partition from the next; `timestamp_ms` is Kafka's."""

    topic: str
    partition: int
    offset: int
    epoch: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


class Consumer(Protocol):
    """One member of one consumer group."""

    async def fetch(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """At most `max_records` records, open from now on; empty after `timeout_s` seconds without any.

        Blocks for longer while the group rebalances. Raises nothing that a retry could mend.
        """

    def done(self, records: Iterable[Record]) -> None:
        """The replacement of each record is acknowledged. Records of a lost partition are passed over.

        Offsets are committed in the background, up to the first record of a partition that is not done.
        """

    def owns(self, record: Record) -> bool:
        """Whether the record's partition is still this member's, in the same epoch; else it comes again elsewhere."""
