"""The fields of model.yaml about which rows run together: what a row costs, how rows of different sizes are padded."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from schemas.tensors import DTYPES
from workers.inference.models.data_types import DATATYPES, in_full
from workers.inference.models.model_parameters import Parameters, Section
from workers.inference.models.tensor_config import InputConfig, OutputConfig

MaskType = Annotated[Literal["TYPE_BOOL", "TYPE_INT32", "TYPE_INT64", "TYPE_FP32"], BeforeValidator(in_full)]


class DynamicBatching(Section):
    max_queue_delay_microseconds: int = Field(default=0, ge=0, le=60_000_000)
    latency_target_microseconds: PositiveInt | None = None  # of one run
    adaptive: bool = True  # false: as many rows as there are, up to max_batch_size
    max_cost: PositiveFloat | None = None  # of a micro-batch with its padding, in the unit of `cost`
    allowed_batch_sizes: tuple[PositiveInt, ...] = ()  # ascending; rows are added up to the next one
    batch_by: tuple[str, ...] = ()  # parameters of requests that are equal within a micro-batch


class ElementsOf(Section):
    elements_of: str  # a row costs as many as this input's row has elements


Cost = Literal["rows", "tokens"] | ElementsOf


class PaddedInputConfig(Section):
    """How an input with dims of -1 is padded; `mask` names another input of the network, which is made here."""

    value: bool | int | float | str = 0
    mask: str | None = None
    mask_data_type: MaskType = "TYPE_INT64"


class PaddingConfig(Section):
    inputs: dict[str, PaddedInputConfig] = Field(default_factory=dict)
    outputs: dict[str, str] = Field(default_factory=dict)  # outputs whose dims of -1 have the sizes of this input's
    lengths: tuple[PositiveInt, ...] = ()  # ascending; sizes are padded up to the next one


class BatchedConfig(Section):
    """The fields that decide which rows of a version run together, and the rules among them."""

    max_batch_size: int = Field(ge=1, le=65_536)
    input: tuple[InputConfig, ...] = Field(min_length=1)
    output: tuple[OutputConfig, ...] = Field(min_length=1)
    dynamic_batching: DynamicBatching = DynamicBatching()
    cost: Cost | None = None  # of a row; default: tokens, or the elements of the first input that is padded, or rows
    padding: PaddingConfig = PaddingConfig()
    parameters: Parameters = Parameters()

    def batching_problems(self) -> Iterator[str]:
        yield from self._cost_problems()
        yield from self._size_problems()
        yield from self._padded_input_problems()
        yield from self._padded_output_problems()

    def _cost_problems(self) -> Iterator[str]:
        cost = self.cost
        if cost == "tokens" and self.parameters.tokenizer is None:
            yield "cost: tokens needs parameters.tokenizer, which makes them"
        if isinstance(cost, ElementsOf):
            tensor = next((tensor for tensor in self.input if tensor.name == cost.elements_of), None)
            if tensor is None:
                yield f"cost.elements_of: {cost.elements_of!r} is not among the inputs"
            elif tensor.name in self._text_inputs:
                yield f"cost.elements_of: {cost.elements_of!r} becomes tokens; use cost: tokens"

    def _size_problems(self) -> Iterator[str]:
        batching, lengths = self.dynamic_batching, self.padding.lengths
        if batching.latency_target_microseconds is not None and not batching.adaptive:
            yield "dynamic_batching.latency_target_microseconds: has no effect with adaptive: false"
        sizes = batching.allowed_batch_sizes
        if not _ascend(sizes):
            yield "dynamic_batching.allowed_batch_sizes: must ascend"
        if sizes and sizes[-1] != self.max_batch_size:
            yield f"dynamic_batching.allowed_batch_sizes: must end with max_batch_size, {self.max_batch_size}"
        if not _ascend(lengths):
            yield "padding.lengths: must ascend"
        if lengths and not (self.padding.inputs or self._text_inputs):
            yield "padding.lengths: nothing is padded; padding.inputs names what is"

    def _padded_input_problems(self) -> Iterator[str]:
        masks: set[str] = set()
        tokenizer = self.parameters.tokenizer
        taken = {tensor.name for tensor in self.input} | set(tokenizer.produces if tokenizer else ())
        for name, padded in self.padding.inputs.items():
            tensor = next((tensor for tensor in self.input if tensor.name == name), None)
            if tensor is None:
                yield f"padding.inputs: {name!r} is not among the inputs"
            elif name in self._text_inputs:
                yield f"padding.inputs: {name!r} becomes tokens, which are padded without being listed"
            elif not tensor.varying_axes:
                yield f"padding.inputs: {name!r} has no dims of -1"
            elif not _fits(padded, tensor):
                yield f"padding.inputs.{name}.value: {padded.value!r} is no {tensor.data_type}"
            if padded.mask is not None and (padded.mask in taken or padded.mask in masks):
                yield f"padding.inputs.{name}.mask: {padded.mask!r} is another input already; masks are made, not given"
            masks |= {padded.mask} if padded.mask is not None else set()

    def _padded_output_problems(self) -> Iterator[str]:
        sources = {tensor.name: len(tensor.varying_axes) for tensor in self.input if tensor.name in self.padding.inputs}
        sources |= dict.fromkeys(self._text_inputs, 1)
        for name, source in self.padding.outputs.items():
            tensor = next((tensor for tensor in self.output if tensor.name == name), None)
            if tensor is None:
                yield f"padding.outputs: {name!r} is not among the outputs"
            elif source not in sources:
                yield f"padding.outputs.{name}: {source!r} is not an input that is padded"
            elif len(tensor.varying_axes) != sources[source]:
                yield f"padding.outputs.{name}: must have as many dims of -1 as {source!r} has, {sources[source]}"

    @property
    def _text_inputs(self) -> tuple[str, ...]:
        return () if self.parameters.tokenizer is None else (self.parameters.tokenizer.input,)


def _ascend(numbers: Sequence[int]) -> bool:
    return all(low < high for low, high in pairwise(numbers))


def _fits(padded: PaddedInputConfig, tensor: InputConfig) -> bool:
    """Whether the value can stand in the tensor as it is."""
    if isinstance(padded.value, str) or tensor.data_type == "TYPE_STRING":
        return isinstance(padded.value, str) and tensor.data_type == "TYPE_STRING"
    try:
        with np.errstate(over="ignore"):
            there = np.array(padded.value, dtype=DTYPES[DATATYPES[tensor.data_type]])
    except OverflowError:
        return False
    return bool(np.isfinite(there)) if there.dtype.kind == "f" else there.item() == padded.value
