"""What workers counted, by version, lane and time, kept in a table of bytes. Pure.

A record is kept as it came, under its own name: one that comes twice, from Kafka or from a table that is read again
after a restart, is there once. When a bucket of ten minutes is over and the next one is too, its records give way to
their sum, which is kept for a day.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from heapq import heappop, heappush
from typing import Final, NamedTuple

import msgspec

from schemas.stats import INTERVAL_S, NOTHING, Counts, StatsRecord, added
from schemas.topics import Lane, LaneClass

BUCKET_S: Final = 600
KEPT_S: Final = 24 * 3600
# Whatever a record says of its worker's clock, an interval that begins so much later is none that anybody counted.
AHEAD_S: Final = 60
# So many changes of the table one call of `tidy` begins with, or makes in one bucket: some 20 ms.
MOST_CHANGES: Final = 300
# Anybody who may write to the topic may write much. A thousand versions, five hundred workers of each, and a quarter of
# a gigabyte, with what an entry takes beside its key and value.
MOST_LANES: Final = 2000
MOST_IN_A_BUCKET: Final = 500 * BUCKET_S // INTERVAL_S
MOST_BYTES: Final = 256 * 1024 * 1024
ENTRY_BYTES: Final = 600


class Taken(StrEnum):
    """What became of a record."""

    COUNTED = "counted"
    UNJUDGED = "unjudged"  # it was counted, but its interval had been judged
    REPEATED = "repeated"  # it was counted before
    LATE = "late"  # its bucket is summed up, or forgotten
    AHEAD = "ahead"  # its interval is not to be for long
    CLOCK = "clock"  # its worker's clock is wrong
    NO_ROOM = "no_room"  # there is more than may be kept, of all, of lanes, or of the lane's workers


class _Name(NamedTuple):
    """Of an entry of the table: a record's, or without a `worker` that of a bucket's sum. `start` in seconds."""

    lane: Lane
    start: int
    worker: str | None = None

    def key(self) -> bytes:
        lane, end = self.lane, "" if self.worker is None else f"/{self.worker}"
        return f"{lane.model}/{lane.version}/{lane.cls}/{self.start}{end}".encode()

    @classmethod
    def read(cls, key: bytes) -> "_Name":
        """Raises `ValueError` for what is no key of ours."""
        model, version, lane, start, *worker = key.decode().split("/", 4)
        return cls(Lane(model, version, LaneClass(lane)), int(start), worker[0] if worker else None)


@dataclass(slots=True)
class _LaneIndex:
    """Which entries there are of one lane: records by bucket, and the buckets that are summed up."""

    records: dict[int, set[_Name]] = field(default_factory=dict)
    sums: set[int] = field(default_factory=set)


class Windows:
    """`table` holds encoded `Counts`. Only `take` and `tidy` write to it, and times are seconds since 1970."""

    def __init__(self, table: MutableMapping[bytes, bytes]) -> None:
        self._table = table
        self._lanes: dict[Lane, _LaneIndex] = {}
        self._due: list[tuple[int, Lane, int]] = []  # when, and of which lane which bucket is summed up or forgotten
        self._bytes = 0  # of the table, about

    def __len__(self) -> int:
        """Entries of the table."""
        return sum(len(lane.sums) + sum(map(len, lane.records.values())) for lane in self._lanes.values())

    def take(self, record: StatsRecord, now_s: float, judged_until_s: float | None = None) -> Taken:
        """Intervals that ended by `judged_until_s` are taken to be complete already."""
        lane = Lane(record.model, record.version, record.lane)
        start = _interval(record.began_at)
        if start > now_s + AHEAD_S:
            return Taken.AHEAD
        known = self._lanes.get(lane)
        if start < now_s - KEPT_S or (known and _bucket(start) in known.sums):
            return Taken.LATE
        name = _Name(lane, start, record.worker)
        if known and name in known.records.get(_bucket(start), ()):
            return Taken.REPEATED
        value = _encode(record.counts)
        if not self._has_room(known, _bucket(start), len(value)):
            return Taken.NO_ROOM
        self._put(name, value)
        is_judged = judged_until_s is not None and start + INTERVAL_S <= judged_until_s
        return Taken.UNJUDGED if is_judged else Taken.COUNTED

    def _has_room(self, known: _LaneIndex | None, bucket: int, value_bytes: int) -> bool:
        if known is None and len(self._lanes) >= MOST_LANES:
            return False
        if known is not None and len(known.records.get(bucket, ())) >= MOST_IN_A_BUCKET:
            return False
        return self._bytes + value_bytes < MOST_BYTES

    def tidy(self, now_s: float) -> None:
        """Sum up and forget what is due, or a part of it. Not once is anything counted twice or not at all, wherever
        this is cut off: the sum is written first, and once it is there the bucket's records count no more."""
        changes = 0
        while self._due and self._due[0][0] <= now_s and changes < MOST_CHANGES:
            _, lane, bucket = heappop(self._due)
            changes += self._sum_up(lane, bucket) if bucket in self._lanes[lane].records else self._forget(lane, bucket)

    def clear(self) -> None:
        """Know nothing: the table is another's."""
        self._lanes.clear()
        self._due.clear()
        self._bytes = 0

    def rebuild(self) -> None:
        """Learn anew what the table holds: after somebody else has filled it."""
        self.clear()
        for key, value in list(self._table.items()):
            self._bytes += _size(key, value)
            with suppress(ValueError):  # a key of another version of ours: it ages away
                self._index(_Name.read(key))

    def between(
        self, model: str, versions: Sequence[str], lane: LaneClass, since: datetime, until: datetime
    ) -> dict[str, Counts]:
        """The sum of each version, over the intervals that lie wholly between the two moments.

        Of what is summed up already only whole buckets count, so that older sums are of whole ten minutes.
        """
        first_s, last_s = since.timestamp(), until.timestamp()
        found = {version: list(self._counts(Lane(model, version, lane), first_s, last_s)) for version in versions}
        return {version: added(NOTHING, *counts) for version, counts in found.items()}

    def buckets(self) -> dict[tuple[Lane, int], int]:
        """All buckets that something is kept of, by lane and by when they began: of how many records; 0 for one that is
        summed up."""
        return {
            (lane, start): 0 if start in index.sums else len(index.records[start])
            for lane, index in self._lanes.items()
            for start in index.sums | index.records.keys()
        }

    def _counts(self, lane: Lane, first_s: float, last_s: float) -> Iterator[Counts]:
        index = self._lanes.get(lane)
        if index is None:
            return
        for bucket in index.sums:
            if first_s <= bucket and bucket + BUCKET_S <= last_s:
                yield self._at(_Name(lane, bucket))
        for bucket, names in index.records.items():
            if bucket not in index.sums and first_s < bucket + BUCKET_S and bucket < last_s:
                inside = [name for name in names if first_s <= name.start and name.start + INTERVAL_S <= last_s]
                yield from map(self._at, inside)

    def _put(self, name: _Name, value: bytes) -> None:
        key = name.key()
        self._table[key] = value
        self._bytes += _size(key, value)
        self._index(name)

    def _drop(self, name: _Name) -> None:
        key = name.key()
        value = self._table.get(key)
        if value is not None:
            del self._table[key]
            self._bytes -= _size(key, value)

    def _at(self, name: _Name) -> Counts:
        """Nothing, where the table has it no more, or somebody else has written there."""
        try:
            return _decoder.decode(self._table.get(name.key(), b"{}"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return NOTHING

    def _index(self, name: _Name) -> None:
        index = self._lanes.setdefault(name.lane, _LaneIndex())
        if name.worker is None:
            index.sums.add(name.start)
            heappush(self._due, (name.start + BUCKET_S + KEPT_S, name.lane, name.start))
            return
        bucket = _bucket(name.start)
        if bucket not in index.records:
            index.records[bucket] = set()
            heappush(self._due, (bucket + 2 * BUCKET_S, name.lane, bucket))
        index.records[bucket].add(name)

    def _sum_up(self, lane: Lane, bucket: int) -> int:
        index, sum_name = self._lanes[lane], _Name(lane, bucket)
        names = index.records[bucket]
        if bucket not in index.sums:
            whole = added(NOTHING, *map(self._at, names))
            self._put(sum_name, _encode(whole))
        changes = min(len(names), MOST_CHANGES)
        for _ in range(changes):
            self._drop(names.pop())
        if names:  # of many workers
            heappush(self._due, (bucket + 2 * BUCKET_S, lane, bucket))
        else:
            del index.records[bucket]
        return 1 + changes

    def _forget(self, lane: Lane, bucket: int) -> int:
        index = self._lanes[lane]
        if bucket in index.sums:
            index.sums.remove(bucket)
            self._drop(_Name(lane, bucket))
        if not index.sums and not index.records:
            del self._lanes[lane]
        return 1


def _size(key: bytes, value: bytes) -> int:
    return ENTRY_BYTES + len(key) + len(value)


def _interval(moment: datetime) -> int:
    return int(moment.timestamp() // INTERVAL_S) * INTERVAL_S


def _bucket(start: int) -> int:
    return start // BUCKET_S * BUCKET_S


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Counts)


def _encode(counts: Counts) -> bytes:
    return _encoder.encode(counts)
