"""`sequential`: a feed-forward network written down as data, in `parameters.torch.config` of model.yaml.

    layers:
      - {type: conv2d, in_channels: 1, out_channels: 16, kernel_size: 3}
      - {type: relu}
    outputs:
      probabilities: [{type: softmax, dim: 1}]
      label: [{type: argmax, dim: 1}]

The layers run in order over the model's one input; each output continues from the last of them. A layer's other
keys are arguments of the torch module of that name. Weights are named `layers.<i>.<weight>` and
`outputs.<name>.<i>.<weight>`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: tuple[dict[str, Any], ...] = ()
    outputs: dict[str, tuple[dict[str, Any], ...]] = Field(min_length=1)


class Scale(nn.Module):
    """`x * factor + offset`: normalization that belongs to the model rather than to its callers."""

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.factor = factor
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


class Unsqueeze(nn.Module):
    """Inserts a dimension of size 1 at `dim`, such as the channel of a gray image."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(self.dim)


class Argmax(nn.Module):
    """The index of the largest value along `dim`, as int64."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(self.dim)


# A closed list: model.yaml is data, and data must not be able to name arbitrary code.
LAYERS: Final[dict[str, Callable[..., nn.Module]]] = {
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "argmax": Argmax,
    "avg_pool2d": nn.AvgPool2d,
    "batch_norm1d": nn.BatchNorm1d,
    "batch_norm2d": nn.BatchNorm2d,
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "dropout": nn.Dropout,
    "embedding": nn.Embedding,
    "flatten": nn.Flatten,
    "gelu": nn.GELU,
    "layer_norm": nn.LayerNorm,
    "linear": nn.Linear,
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "relu": nn.ReLU,
    "scale": Scale,
    "sigmoid": nn.Sigmoid,
    "softmax": nn.Softmax,
    "tanh": nn.Tanh,
    "unsqueeze": Unsqueeze,
}


class Sequential(nn.Module):
    def __init__(self, layers: nn.Sequential, outputs: Mapping[str, nn.Sequential]) -> None:
        super().__init__()
        self.layers = layers
        self.outputs = nn.ModuleDict(outputs)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """One input of any name in, every output by its name out."""
        (x,) = inputs.values()
        x = self.layers(x)
        return {name: output(x) for name, output in self.outputs.items()}


def build(config: Mapping[str, Any]) -> Sequential:
    """The network, its weights not loaded yet. Raises `ValueError` naming the layer that cannot be built."""
    parsed = _Config.model_validate(config)
    return Sequential(
        _stack(parsed.layers, "layers"),
        {name: _stack(layers, f"outputs.{name}") for name, layers in parsed.outputs.items()},
    )


def _stack(layers: tuple[dict[str, Any], ...], field: str) -> nn.Sequential:
    return nn.Sequential(*(_layer(layer, f"{field}[{index}]") for index, layer in enumerate(layers)))


def _layer(layer: dict[str, Any], field: str) -> nn.Module:
    arguments = dict(layer)
    kind = arguments.pop("type", None)
    if kind not in LAYERS:
        raise ValueError(f"{field}.type: {kind!r} is none of {', '.join(LAYERS)}")
    try:
        return LAYERS[kind](**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{field}: {kind} cannot be built with {arguments}: {error}") from error
