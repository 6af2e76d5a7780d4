"""What a worker asks of whatever runs a model."""

from collections.abc import Mapping
from typing import Any, Protocol

from schemas.tensors import Array


class Backend(Protocol):
    """One loaded model version. Never called by two threads at once; may be called by different threads in turn."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        """Every output of the signature for a micro-batch, rows in order. Blocks.

        Inputs are by name and of shape [rows, ...] with the same rows; so are the outputs. `parameters` are those of
        the requests that the model's `batch_by` names, equal for all its jobs; a graph of tensors has no use for them.
        Raises `JobError` if the model fails or breaks its signature, and `InvalidInput` for values that no check
        before could refuse.
        """

    def close(self) -> None:
        """Free memory and device. Not called twice, and `run` not after it."""
