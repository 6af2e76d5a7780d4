"""What moves through the worker: a job in hand, and what became of it."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from schemas.errors import PenstockError
from schemas.oip import InferRequest
from schemas.records import LaneJob
from schemas.tensors import Array
from stores.seams import JobKey
from workers.consuming.seams import Record
from workers.inference.batching.compatibility import Size


class PendingJob(NamedTuple):
    """A job that is ready to run, and the record it came in, which stays open until the job's end is published.

    The inputs of `request` are those of the network: texts are tokens by now. `group`, `size` and `row_cost` are the
    request's `Measure`.
    """

    record: Record
    job: LaneJob
    request: InferRequest
    group: Hashable = ()
    size: Size = ()
    row_cost: float = 1.0

    @property
    def rows(self) -> int:
        return self.request.rows

    @property
    def payload_bytes(self) -> int:
        return len(self.record.value or b"")

    @property
    def key(self) -> JobKey:
        return JobKey(self.job.tenant, self.job.id)


# The outputs of one item's rows, by name, or why there are none.
RunResult = Mapping[str, Array] | PenstockError
