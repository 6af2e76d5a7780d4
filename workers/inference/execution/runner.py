"""What it takes to run the micro-batches of one model version."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.batching.compatibility import PLAIN, BatchCompatibility
from workers.inference.batching.pending_job import PendingJob
from workers.inference.execution.piece_sizes import BadShare, PieceSizes


class Model(Protocol):
    """What a runner needs of a backend."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        """Outputs by name for inputs by name, all of shape [rows, ...]. Blocks; may raise anything."""


class Room(Protocol):
    """What the device is known to have room for at once."""

    @property
    def most_rows(self) -> int: ...

    @property
    def cost(self) -> float: ...

    def predicted_s(self, rows: int, cost: float) -> float | None:
        """How long a run takes; None while that is unknown."""

    def padding_worth(self) -> float | None:
        """The cost that takes as long as the fixed part of a run; None while that cannot be told."""


class Runner:
    """Runs micro-batches of one model version, within the `room` that there is known to be.

    `prepare` is called before each run, outside of what is measured: it brings the model into memory. `traceback` makes
    text of an exception that passed through the model's own code, and is None for others.
    """

    def __init__(
        self,
        model: Model,
        signature: Signature,
        room: Room,
        rules: BatchCompatibility = PLAIN,
        *,
        prepare: Callable[[], None] = lambda: None,
        traceback: Callable[[BaseException], str | None] = lambda _: None,
    ) -> None:
        self.model = model
        self.signature = signature
        self.room = room
        self.rules = rules
        self.prepare = prepare
        self.traceback = traceback
        self.bad_share = BadShare()  # written where models run

    def stack(self, jobs: Sequence[PendingJob]) -> dict[str, Array]:
        """The jobs' rows, as the model takes them. In any thread."""
        return self.rules.padding.stack([job.request.inputs for job in jobs])

    def at_once(self, rows: int, inputs: Mapping[str, Array]) -> int:
        """How many of so many rows, stacked as `inputs`, one run may have."""
        return self.rules.most_rows(min(rows, self.room.most_rows), self.rules.size(inputs), self.room.cost)

    def expected_s(self, inputs: Mapping[str, Array]) -> float | None:
        """How long the first run of a micro-batch takes; None while that is unknown."""
        rows = self.at_once(len(next(iter(inputs.values()))), inputs)
        return self.room.predicted_s(rows, self.rules.cost(rows, self.rules.size(inputs)))

    def piece_sizes(self, jobs: Sequence[PendingJob], *, of_rows: bool = False) -> PieceSizes:
        """For a micro-batch of the jobs: a job's price is that of its rows, in fixed parts of a run. `of_rows`: not
        jobs are run together, but the rows of them."""
        worth = self.room.padding_worth()
        if worth is None:
            return PieceSizes(self.bad_share.value)
        items = sum([job.rows for job in jobs]) if of_rows else len(jobs)
        job_cost = sum([job.rows * job.row_cost for job in jobs]) / max(items, 1)
        # Both are 0 for empty rows and a model whose runs have no fixed part.
        return PieceSizes(self.bad_share.value, job_cost / max(worth, job_cost) if job_cost else 0.0)
