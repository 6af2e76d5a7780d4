"""What a worker asks of whatever runs a model."""

from collections.abc import Mapping
from typing import Protocol

from schemas.tensors import Array


class Backend(Protocol):
    """One loaded model version. Never called by two threads at once; may be called by different threads in turn."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every output of the signature for a micro-batch, rows in order. Blocks.

        Inputs are by name and of shape [rows, ...] with the same rows; so are the outputs. Raises `JobError` if the
        model fails or breaks its signature, and `InvalidInput` for values that no check before could refuse.
        """

    def close(self) -> None:
        """Free memory and device. Not called twice, and `run` not after it."""
