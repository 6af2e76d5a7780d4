"""From what model.yaml says of rows that run together to the rules of a version."""

import math

from schemas.signature import TensorSpec
from workers.inference.batching.compatibility import BatchCompatibility, Dimension
from workers.inference.batching.padding import FollowingOutput, PaddedInput, Padding
from workers.inference.models.batching_config import BatchedConfig, ElementsOf, PaddedInputConfig
from workers.inference.models.data_types import DATATYPES
from workers.inference.models.tensor_config import InputConfig


def rules_of(config: BatchedConfig, pad_id: int = 0) -> BatchCompatibility:
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
            for axis in tensor.varying_axes
        ),
        batch_by=batching.batch_by,
        max_cost=batching.max_cost or math.inf,
        batch_sizes=batching.allowed_batch_sizes,
    )


def _padding(config: BatchedConfig, pad_id: int) -> Padding:
    tensors = {tensor.name: tensor for tensor in config.input}
    inputs = {name: _padded(tensors[name], padded) for name, padded in config.padding.inputs.items()}
    sources = {name: name for name in inputs}
    tokenizer = config.parameters.tokenizer
    if tokenizer is not None:
        inputs |= {name: PaddedInput((1,), pad_id if name == "input_ids" else 0) for name in tokenizer.produces}
        sources[tokenizer.input] = tokenizer.produces[0]
    outputs = {
        tensor.name: FollowingOutput(sources[config.padding.outputs[tensor.name]], tensor.varying_axes)
        for tensor in config.output
        if tensor.name in config.padding.outputs
    }
    return Padding(inputs, outputs, config.padding.lengths)


def _padded(tensor: InputConfig, config: PaddedInputConfig) -> PaddedInput:
    axes = tensor.varying_axes
    mask = None
    if config.mask is not None:
        mask = TensorSpec(config.mask, DATATYPES[config.mask_data_type], (-1,) * (1 + len(axes)))
    value = config.value.encode() if isinstance(config.value, str) else config.value
    return PaddedInput(axes, value, mask)


def _cost(config: BatchedConfig) -> tuple[float, tuple[Dimension, ...]]:
    """What a row costs: a unit, and the dimensions whose sizes it is multiplied by."""
    cost, tokenizer = config.cost, config.parameters.tokenizer
    if cost is None and tokenizer is None and config.padding.inputs:
        cost = ElementsOf(elements_of=next(iter(config.padding.inputs)))
    if isinstance(cost, ElementsOf):
        tensor = next(tensor for tensor in config.input if tensor.name == cost.elements_of)
        fixed = math.prod(size for size in tensor.dims if size != -1)
        return fixed, tuple(Dimension(tensor.name, axis) for axis in tensor.varying_axes)
    if tokenizer is not None and cost != "rows":
        return 1.0, (Dimension(tokenizer.produces[0], 1),)
    return 1.0, ()
