"""What jobs take of a worker's memory, and how many more records a lane may fetch."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from runtime.budget import MemoryBudget
from schemas.topics import LaneClass
from workers.inference.batching.padding import Padding
from workers.inference.batching.pending_job import PendingJob
from workers.inference.batching.ragged_rows import RaggedRows, Rows

FETCH_RECORDS: Final = 512
NO_PADDING: Final = Padding()
# Of a record that nothing is known of yet, decoded.
USUAL_RECORD_BYTES: Final = 64 * 1024
# How much of the budget may be taken when bulk is fetched; the rest is left to what is live.
BULK_SHARE: Final = 0.5


def memory_bytes(value: bytes, inputs: Mapping[str, Rows], padding: Padding = NO_PADDING) -> int:
    """What a job takes from its arrival to its end: the record's value, what it decodes to, and that once stacked, with
    the padding that it has even alone."""
    held_bytes = len(value)
    for name, rows in inputs.items():
        held_bytes += _held_bytes(rows) + padding.stacked_bytes(name, rows)
    return held_bytes


def _held_bytes(rows: Rows) -> int:
    if isinstance(rows, RaggedRows):
        return rows.held_bytes
    if rows.dtype == object:
        return rows.nbytes + sum(map(sys.getsizeof, rows.flat))
    return rows.nbytes


class FetchBrake:
    """What waits is bounded in rows for each lane, and in bytes for all lanes of the process together.

    A lane that holds nothing fetches one record all the same, so that none waits for room that others never leave: the
    most that is held is the budget and one job a lane.
    """

    def __init__(self, budget: MemoryBudget, lane_class: LaneClass) -> None:
        self._budget = budget
        self._limit_bytes = int(budget.limit_bytes * (BULK_SHARE if lane_class is LaneClass.BULK else 1))
        self._holding = budget.hold("records")
        self._bytes_a_record: float = USUAL_RECORD_BYTES
        self.rows_a_record = 1.0

    def records(self, room_rows: int) -> int:
        """How many records to fetch where so many more rows may wait; 0 where it has to wait for room."""
        if room_rows <= 0:
            return 0
        room_bytes = self._limit_bytes - self._budget.held_bytes
        if room_bytes <= 0:
            return 0 if self._holding.held_bytes else 1
        wanted = min(room_rows / self.rows_a_record, room_bytes / self._bytes_a_record)
        return min(math.ceil(wanted), FETCH_RECORDS)

    def room_for(self, more_bytes: int) -> bool:
        return self._budget.held_bytes + more_bytes <= self._limit_bytes

    def fetched(self, jobs: Sequence[PendingJob]) -> None:
        """Learn how large records are at the moment."""
        if jobs:
            self.rows_a_record = sum([job.rows for job in jobs]) / len(jobs)
            self._bytes_a_record = max(1.0, sum([job.held_bytes for job in jobs]) / len(jobs))

    def holds(self, held_bytes: int) -> None:
        """So much is held by the lane's jobs now."""
        self._holding.count(held_bytes)
