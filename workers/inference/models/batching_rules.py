"""From what model.yaml says of rows that run together to a version's rules, and what may be wrong with it."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from schemas.signature import TensorSpec
from schemas.tensors import DTYPES
from workers.inference.batching.compatibility import BatchCompatibility, Dimension
from workers.inference.batching.padding import FollowingOutput, PaddedInput, Padding
from workers.inference.models.batching_config import ElementsOf, PaddedInputConfig
from workers.inference.models.data_types import DATATYPES

if TYPE_CHECKING:  # it holds the sections that are read here
    from workers.inference.models.model_config import InputConfig, OutputConfig, VersionConfig


def rules_of(config: "VersionConfig", pad_id: int = 0) -> BatchCompatibility:
    """The rules of a version whose configuration is sound. `pad_id` is its tokenizer's."""
    padding = _padding(config, pad_id)
    tokenizer = config.parameters.tokenizer
    texts = () if tokenizer is None else (tokenizer.input,)
    unit, charged = _cost(config)
    batching = config.dynamic_batching
    return BatchCompatibility(
        padding=padding,
        unit=unit,
        charged=charged,
        equal=tuple(
            Dimension(tensor.name, axis)
            for tensor in config.input
            if tensor.name not in padding.inputs and tensor.name not in texts
            for axis in _varying(tensor)
        ),
        batch_by=batching.batch_by,
        max_cost=batching.max_cost or math.inf,
        batch_sizes=batching.allowed_batch_sizes,
    )


def _padding(config: "VersionConfig", pad_id: int) -> Padding:
    tensors = {tensor.name: tensor for tensor in config.input}
    inputs = {name: _padded(tensors[name], padded) for name, padded in config.padding.inputs.items()}
    sources = {name: name for name in inputs}
    tokenizer = config.parameters.tokenizer
    if tokenizer is not None:
        inputs |= {name: PaddedInput((1,), pad_id if name == "input_ids" else 0) for name in tokenizer.produces}
        sources[tokenizer.input] = tokenizer.produces[0]
    outputs = {
        tensor.name: FollowingOutput(sources[config.padding.outputs[tensor.name]], _varying(tensor))
        for tensor in config.output
        if tensor.name in config.padding.outputs
    }
    return Padding(inputs, outputs, config.padding.lengths)


def _padded(tensor: "InputConfig", config: PaddedInputConfig) -> PaddedInput:
    axes = _varying(tensor)
    mask = None
    if config.mask is not None:
        mask = TensorSpec(config.mask, DATATYPES[config.mask_data_type], (-1,) * (1 + len(axes)))
    value = config.value.encode() if isinstance(config.value, str) else config.value
    return PaddedInput(axes, value, mask)


def _cost(config: "VersionConfig") -> tuple[float, tuple[Dimension, ...]]:
    """What a row costs: a unit, and the dimensions whose sizes it is multiplied by."""
    cost, tokenizer = config.cost, config.parameters.tokenizer
    if cost is None and tokenizer is None and config.padding.inputs:
        cost = ElementsOf(elements_of=next(iter(config.padding.inputs)))
    if isinstance(cost, ElementsOf):
        tensor = next(tensor for tensor in config.input if tensor.name == cost.elements_of)
        fixed = math.prod(size for size in tensor.dims if size != -1)
        return fixed, tuple(Dimension(tensor.name, axis) for axis in _varying(tensor))
    if tokenizer is not None and cost != "rows":
        return 1.0, (Dimension(tokenizer.produces[0], 1),)
    return 1.0, ()


def batching_problems(config: "VersionConfig") -> Iterator[str]:
    yield from _cost_problems(config)
    yield from _size_problems(config)
    yield from _padded_input_problems(config)
    yield from _padded_output_problems(config)


def _cost_problems(config: "VersionConfig") -> Iterator[str]:
    cost = config.cost
    if cost == "tokens" and config.parameters.tokenizer is None:
        yield "cost: tokens needs parameters.tokenizer, which makes them"
    if isinstance(cost, ElementsOf):
        tensor = next((tensor for tensor in config.input if tensor.name == cost.elements_of), None)
        if tensor is None:
            yield f"cost.elements_of: {cost.elements_of!r} is not among the inputs"
        elif tensor.name in _text_inputs(config):
            yield f"cost.elements_of: {cost.elements_of!r} becomes tokens; use cost: tokens"


def _size_problems(config: "VersionConfig") -> Iterator[str]:
    batching, lengths = config.dynamic_batching, config.padding.lengths
    if batching.latency_target_microseconds is not None and not batching.adaptive:
        yield "dynamic_batching.latency_target_microseconds: has no effect with adaptive: false"
    sizes = batching.allowed_batch_sizes
    if not _ascend(sizes):
        yield "dynamic_batching.allowed_batch_sizes: must ascend"
    if sizes and sizes[-1] != config.max_batch_size:
        yield f"dynamic_batching.allowed_batch_sizes: must end with max_batch_size, {config.max_batch_size}"
    if not _ascend(lengths):
        yield "padding.lengths: must ascend"
    if lengths and not (config.padding.inputs or _text_inputs(config)):
        yield "padding.lengths: nothing is padded; padding.inputs names what is"


def _padded_input_problems(config: "VersionConfig") -> Iterator[str]:
    masks: set[str] = set()
    tokenizer = config.parameters.tokenizer
    taken = {tensor.name for tensor in config.input} | set(tokenizer.produces if tokenizer else ())
    for name, padded in config.padding.inputs.items():
        tensor = next((tensor for tensor in config.input if tensor.name == name), None)
        if tensor is None:
            yield f"padding.inputs: {name!r} is not among the inputs"
        elif name in _text_inputs(config):
            yield f"padding.inputs: {name!r} becomes tokens, which are padded without being listed"
        elif not _varying(tensor):
            yield f"padding.inputs: {name!r} has no dims of -1"
        elif not _fits(padded, tensor):
            yield f"padding.inputs.{name}.value: {padded.value!r} is no {tensor.data_type}"
        if padded.mask is not None and (padded.mask in taken or padded.mask in masks):
            yield f"padding.inputs.{name}.mask: {padded.mask!r} is another input already; masks are made, not given"
        masks |= {padded.mask} if padded.mask is not None else set()


def _padded_output_problems(config: "VersionConfig") -> Iterator[str]:
    sources = {tensor.name: len(_varying(tensor)) for tensor in config.input if tensor.name in config.padding.inputs}
    sources |= dict.fromkeys(_text_inputs(config), 1)
    for name, source in config.padding.outputs.items():
        tensor = next((tensor for tensor in config.output if tensor.name == name), None)
        if tensor is None:
            yield f"padding.outputs: {name!r} is not among the outputs"
        elif source not in sources:
            yield f"padding.outputs.{name}: {source!r} is not an input that is padded"
        elif len(_varying(tensor)) != sources[source]:
            yield f"padding.outputs.{name}: must have as many dims of -1 as {source!r} has, {sources[source]}"


def _text_inputs(config: "VersionConfig") -> tuple[str, ...]:
    return () if config.parameters.tokenizer is None else (config.parameters.tokenizer.input,)


def _varying(tensor: "InputConfig | OutputConfig") -> tuple[int, ...]:
    """The axes of the stacked tensor that vary; 0 would be the rows."""
    return tuple(axis for axis, size in enumerate(tensor.dims, 1) if size == -1)


def _ascend(numbers: Sequence[int]) -> bool:
    return all(low < high for low, high in pairwise(numbers))


def _fits(padded: PaddedInputConfig, tensor: "InputConfig") -> bool:
    """Whether the value can stand in the tensor as it is."""
    if isinstance(padded.value, str) or tensor.data_type == "TYPE_STRING":
        return isinstance(padded.value, str) and tensor.data_type == "TYPE_STRING"
    try:
        with np.errstate(over="ignore"):
            there = np.array(padded.value, dtype=DTYPES[DATATYPES[tensor.data_type]])
    except OverflowError:
        return False
    return bool(np.isfinite(there)) if there.dtype.kind == "f" else there.item() == padded.value
