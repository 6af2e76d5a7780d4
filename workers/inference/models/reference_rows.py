"""`reference_rows` of model.yaml: rows like those that clients send, and what the model is known to answer to them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import Field, NonNegativeFloat

from schemas.errors import PenstockError
from schemas.signature import TensorSpec
from schemas.tensors import Array, check_shape, from_json
from workers.inference.models.data_types import DATATYPES
from workers.inference.models.model_parameters import Section
from workers.inference.models.tensor_config import InputConfig, OutputConfig


class ReferenceRows(Section):
    """Tensors by name, as nested lists [rows, ...]. Without `outputs`, those of the first load count."""

    inputs: dict[str, list[Any]] = Field(min_length=1)
    outputs: dict[str, list[Any]] = Field(default_factory=dict)
    rtol: NonNegativeFloat | None = None  # of floats; default: by their type
    atol: NonNegativeFloat | None = None


def arrays_of(specs: Sequence[TensorSpec], tensors: Mapping[str, list[Any]], field: str) -> dict[str, Array]:
    """The tensors as arrays. Raises what a request with them would raise; `field` is what they are called then."""
    return {spec.name: _array(spec, tensors[spec.name], f"{field}.{spec.name}") for spec in specs}


def reference_problems(
    rows: ReferenceRows | None, inputs: Sequence[InputConfig], outputs: Sequence[OutputConfig], max_rows: int
) -> Iterator[str]:
    """What is wrong with the rows of a version that has these tensors and runs so many rows at once."""
    if rows is None:
        return
    ins, outs = {tensor.name: tensor for tensor in inputs}, {tensor.name: tensor for tensor in outputs}
    yield from (f"reference_rows.inputs: {name!r} is missing" for name in ins if name not in rows.inputs)
    yield from (f"reference_rows.inputs: {name!r} is not among the inputs" for name in rows.inputs if name not in ins)
    yield from (
        f"reference_rows.outputs: {name!r} is not among the outputs" for name in rows.outputs if name not in outs
    )
    yield from _tensor_problems(ins, rows.inputs, "reference_rows.inputs")
    yield from _tensor_problems(outs, rows.outputs, "reference_rows.outputs")
    counts = {len(tensor) for tensor in (*rows.inputs.values(), *rows.outputs.values())}
    if len(counts) > 1:
        yield "reference_rows: all tensors must have as many rows"
    elif max(counts) > max_rows:
        yield f"reference_rows: {max(counts)} rows are more than max_batch_size, {max_rows}"


def _tensor_problems(
    declared: Mapping[str, InputConfig] | Mapping[str, OutputConfig], tensors: Mapping[str, list[Any]], field: str
) -> Iterator[str]:
    for name, rows in tensors.items():
        tensor = declared.get(name)
        if tensor is None:
            continue
        allow_nan = not isinstance(tensor, InputConfig) or tensor.allow_nan
        spec = TensorSpec(name, DATATYPES[tensor.data_type], (-1, *tensor.dims), allow_nan=allow_nan)
        try:
            _array(spec, rows, f"{field}.{name}")
        except PenstockError as error:
            yield error.message


def _array(spec: TensorSpec, rows: list[Any], field: str) -> Array:
    shape = tuple(_sizes(rows))
    check_shape(spec, shape, field)
    return from_json(spec, orjson.dumps(rows), shape, field)


def _sizes(level: object) -> Iterator[int]:
    while isinstance(level, list):
        yield len(level)
        level = level[0] if level else None
