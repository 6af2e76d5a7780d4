"""Many inputs, a bounded number of them under way."""

from dataclasses import dataclass

from penstock.client.jobs import Result
from schemas.errors import PenstockError


@dataclass(frozen=True, slots=True)
class Mapped:
    """What became of one input: a result, or the error that it met. `index` counts inputs from 0."""

    index: int
    result: Result | None = None
    error: PenstockError | None = None
