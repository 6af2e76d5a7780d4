"""A job in the worker's hands, and what running it gave."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from schemas.errors import PenstockError
from schemas.oip import InferRequest
from schemas.records import LaneJob
from schemas.tensors import Array
from stores.protocols import JobKey
from workers.consuming.protocols import Record
from workers.inference.batching.compatibility import Size


class JobState(Enum):
    """Where a job is. It moves down this list, and may be over at any time."""

    WAITING = auto()  # for its micro-batch
    FORMED = auto()  # in a micro-batch that has not begun
    RUNNING = auto()  # in the model, or its end is being published
    OVER = auto()  # its end is published, or it is no longer ours


@dataclass(slots=True, eq=False)
class PendingJob:
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
    state: JobState = JobState.WAITING
    # What is asked for several times.
    id: str = field(init=False)
    rows: int = field(init=False)
    key: JobKey = field(init=False)

    def __post_init__(self) -> None:
        self.id = self.job.id
        self.rows = self.request.rows
        self.key = JobKey(self.job.tenant, self.job.id)

    @property
    def starts_key(self) -> JobKey:
        """What its starts are counted by. One that came from another version, as a copy does, begins anew: no id has a
        space."""
        other = self.job.moved_from is not None or self.job.shadow_of is not None
        return JobKey(self.job.tenant, f"{self.id} {self.job.version}") if other else self.key


@dataclass(frozen=True, slots=True)
class RowAnswers:
    """What became of the rows of a job that is answered row by row, where some have `errors`, by row from 0. `outputs`
    are those of the others, in order; there are none where no row ran well."""

    outputs: Mapping[str, Array]
    errors: Mapping[int, PenstockError]


# The outputs of one job's rows, by name, or why there are none; or both.
RunResult = Mapping[str, Array] | RowAnswers | PenstockError


def outputs_of(answer: Mapping[str, Array] | RowAnswers) -> Mapping[str, Array]:
    return answer.outputs if isinstance(answer, RowAnswers) else answer
