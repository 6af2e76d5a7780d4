"""What it takes to run the micro-batches of one model version."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.batching.compatibility import PLAIN, BatchCompatibility
from workers.inference.batching.pending_job import PendingJob


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


class Runner:
    """Runs micro-batches of one model version, within the `room` that there is known to be.

    `prepare` is called before each run, outside of what is measured: it brings the model into memory.
    """

    def __init__(
        self,
        model: Model,
        signature: Signature,
        room: Room,
        rules: BatchCompatibility = PLAIN,
        *,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = model
        self.signature = signature
        self.room = room
        self.rules = rules
        self.prepare = prepare

    def stack(self, jobs: Sequence[PendingJob]) -> dict[str, Array]:
        """The jobs' rows, as the model takes them. In any thread."""
        return self.rules.padding.stack([job.request.inputs for job in jobs])
