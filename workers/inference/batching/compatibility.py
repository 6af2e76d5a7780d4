"""Which rows of a model version may run together, and what they cost together. Pure."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from schemas.errors import InvalidInput
from schemas.oip import InferRequest
from workers.inference.batching.padding import Padding, round_up
from workers.inference.batching.ragged_rows import Rows

# Of the parameters that `batch_by` names, as JSON.
MAX_AGREED_BYTES: Final = 64 * 1024

# What the cost of a row depends on: sizes of the dimensions that its model is charged by.
Size = tuple[int, ...]


def largest(sizes: Sequence[Size]) -> Size:
    """What rows of these sizes are padded to."""
    return tuple(map(max, *sizes)) if len(sizes) > 1 else sizes[0]


class Dimension(NamedTuple):
    """A dimension whose size varies from request to request. `axis` 0 would be the rows."""

    input: str
    axis: int


class Measure(NamedTuple):
    """What a batcher must know of a request. Only requests of one `group` may share a micro-batch.

    `size` is what the request is padded to at least, `row_cost` what one of its rows costs without padding.
    """

    group: Hashable = ()
    size: Size = ()
    row_cost: float = 1.0


@dataclass(frozen=True, slots=True)
class BatchCompatibility:
    """A row costs `unit` times the sizes of the `charged` dimensions, and a micro-batch `max_cost` with its padding.

    `equal` dimensions must be the same within a micro-batch, and so must the parameters of requests that `batch_by`
    names. `batch_sizes` are the numbers of rows that the model is run with (empty: any).
    """

    padding: Padding = field(default_factory=Padding)
    unit: float = 1.0
    charged: tuple[Dimension, ...] = ()
    equal: tuple[Dimension, ...] = ()
    batch_by: tuple[str, ...] = ()
    max_cost: float = math.inf
    batch_sizes: tuple[int, ...] = ()

    @property
    def sized(self) -> bool:
        """Whether rows of different cost may share a micro-batch, so that it matters which of them do."""
        return any(dimension.input in self.padding.inputs for dimension in self.charged)

    def measure(self, request: InferRequest) -> Measure:
        """Raises `InvalidInput` for parameters named by `batch_by` that cannot be compared."""
        if not (self.charged or self.equal or self.batch_by):
            return _PLAIN if self.unit == 1.0 else Measure(row_cost=self.unit)
        inputs = request.inputs
        size = self.size(inputs)
        group: Hashable = tuple([inputs[name].shape[axis] for name, axis in self.equal])
        if self.batch_by:
            group = (group, _compared(self.agreed(request.parameters)))
        return Measure(group, self._padded(size), self.row_cost(size))

    def agreed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Of a request's parameters, those that its whole micro-batch has."""
        return {name: parameters[name] for name in self.batch_by if name in parameters}

    def size(self, inputs: Mapping[str, Rows]) -> Size:
        return tuple([inputs[name].shape[axis] for name, axis in self.charged])

    def row_cost(self, size: Size) -> float:
        return self.unit * math.prod(size)

    def cost(self, rows: int, size: Size) -> float:
        """Of a micro-batch that is padded to `size`, and to one of the `batch_sizes`."""
        return round_up(rows, self.batch_sizes) * self.row_cost(size)

    def most_rows(self, rows: int, size: Size, cost: float = math.inf) -> int:
        """How many of `rows` rows of this size may run together; at least one."""
        cost = min(cost, self.max_cost)
        if self.cost(rows, size) <= cost:
            return rows
        fitting = int(cost / self.row_cost(size))
        return max(1, max((step for step in self.batch_sizes if step <= fitting), default=fitting))

    def _padded(self, size: Size) -> Size:
        lengths = self.padding.lengths
        if not lengths:
            return size
        return tuple(
            [
                round_up(each, lengths) if dimension.input in self.padding.inputs else each
                for each, dimension in zip(size, self.charged, strict=True)
            ]
        )


def _compared(agreed: Mapping[str, Any]) -> bytes:
    """The parameters as JSON, which tells 1, 1.0 and true apart. What can be written so can be sent to a model in a
    process of its own, too."""
    names = ", ".join(agreed)
    try:
        compared = orjson.dumps(agreed, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError) as error:
        raise InvalidInput(
            f"parameters: {names}: integers have 64 bits at most, and lists and objects are nested 200 deep at most",
            param="parameters",
        ) from error
    if len(compared) > MAX_AGREED_BYTES:
        raise InvalidInput(f"parameters: {names}: at most {MAX_AGREED_BYTES} bytes as JSON", param="parameters")
    return compared


_PLAIN: Final = Measure()
PLAIN: Final = BatchCompatibility()
