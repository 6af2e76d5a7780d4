"""What moves through the worker: a job in hand, and what became of it."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.errors import PenstockError
from schemas.oip import InferRequest
from schemas.records import LaneJob
from schemas.tensors import Array
from stores.seams import JobKey
from workers.consuming.seams import Record


class Item(NamedTuple):
    """A job that is ready to run, and the record it came in, which stays open until the job's end is published."""

    record: Record
    job: LaneJob
    request: InferRequest

    @property
    def rows(self) -> int:
        return self.request.rows

    @property
    def key(self) -> JobKey:
        return JobKey(self.job.tenant, self.job.id)


# The outputs of one item's rows, by name, or why there are none.
Outcome = Mapping[str, Array] | PenstockError
