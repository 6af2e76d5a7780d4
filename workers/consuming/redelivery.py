"""Records that are being worked on while their partition is lost and comes back: adopted, not worked on twice. Pure."""

from collections.abc import Iterable, Sequence

from workers.consuming.offsets import Partition
from workers.consuming.protocols import Consumer, Record

_Place = tuple[str, int, int]


def _place(record: Record) -> _Place:
    """Topic, partition and offset, which come first in a record."""
    return record[:3]


class Redeliveries:
    """The records that one member works on, and copies of them that came in a later epoch."""

    def __init__(self) -> None:
        self._copies: dict[_Place, Record | None] = {}

    def begin(self, records: Iterable[Record]) -> None:
        self._copies.update((_place(record), None) for record in records)

    def adopt(self, record: Record) -> bool:
        """Whether the record is being worked on already. What becomes of that is then this one's end as well."""
        place = _place(record)
        if place not in self._copies:
            return False
        self._copies[place] = record
        return True

    def lose(self, partitions: frozenset[Partition]) -> None:
        """The partitions are lost again, and their copies with them."""
        for place, copy in self._copies.items():
            if copy is not None and place[:2] in partitions:
                self._copies[place] = None

    def over(self, records: Iterable[Record]) -> list[Record]:
        """Nothing more will become of the records. Returns copies of those not done: they start afresh."""
        copies = [self._copies.pop(_place(record), None) for record in records]
        return [copy for copy in copies if copy is not None]

    def seen_through(self, consumer: Consumer) -> Consumer:
        """The consumer as whoever ends the records is to see it: a record's copy stands for it."""
        return _WithCopies(consumer, self._copies)


class _WithCopies:
    def __init__(self, consumer: Consumer, copies: dict[_Place, Record | None]) -> None:
        self._consumer = consumer
        self._copies = copies

    async def fetch(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        return await self._consumer.fetch(max_records, timeout_s)

    def done(self, records: Iterable[Record]) -> None:
        self._consumer.done([self._copies.pop(_place(record), None) or record for record in records])

    def owns(self, record: Record) -> bool:
        return self._consumer.owns(self._copies.get(_place(record)) or record)
