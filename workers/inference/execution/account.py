"""What the runs of a micro-batch took."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Run(NamedTuple):
    """One run of the model: with how many rows and at which cost, padding included, and how long it took."""

    rows: int
    cost: float
    seconds: float


@dataclass(slots=True)
class Account:
    """What a micro-batch took. Of the cost of the `runs` that went well, `real_cost` was no padding.

    `too_large` are runs that the device had no room for, and not because of one job that has no room even alone.
    `failed_s` are the seconds within the model that came to nothing, `collate_s` those of stacking. `in_pieces`: not
    all of its jobs ran together.
    """

    runs: list[Run] = field(default_factory=list)
    real_cost: float = 0.0
    too_large: list[Run] = field(default_factory=list)
    failed_s: float = 0.0
    collate_s: float = 0.0
    in_pieces: bool = False

    @property
    def padding_cost(self) -> float:
        return max(0.0, sum(run.cost for run in self.runs) - self.real_cost)

    @property
    def model_s(self) -> float:
        return self.failed_s + sum(run.seconds for run in self.runs)
