"""What bounds a micro-batch: told by whoever learns from the runs, asked by whoever collects."""

from typing import Protocol


class Limits(Protocol):
    """Of one model version; they may change with every run."""

    @property
    def rows(self) -> int:
        """The most rows of the next micro-batch."""

    @property
    def cost(self) -> float:
        """The most cost of the next micro-batch, padding included; infinite where none is known."""

    def predicted_s(self, rows: int, cost: float) -> float | None:
        """How long a run takes; None while that is unknown."""

    def padding_worth(self) -> float | None:
        """The cost of padding that is as dear as the fixed part of one run; None while that is unknown."""
