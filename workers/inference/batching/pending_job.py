"""What moves through the worker: a job that is ready to run, and what became of its run."""

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

    The inputs of `request` are those of the network: texts are tokens by now, as `RaggedRows`. `group`, `size` and
    `row_cost` are the request's `Measure`. `held_bytes` is what the job takes of the worker's memory.
    """

    record: Record
    job: LaneJob
    request: InferRequest
    group: Hashable = ()
    size: Size = ()
    row_cost: float = 1.0
    held_bytes: int = 0

    @property
    def rows(self) -> int:
        return self.request.rows

    @property
    def key(self) -> JobKey:
        return JobKey(self.job.tenant, self.job.id)


# The outputs of one item's rows, by name, or why there are none.
RunResult = Mapping[str, Array] | PenstockError
