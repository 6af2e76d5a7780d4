"""What a model version takes and gives: the names, datatypes and shapes of its tensors.

Datatypes are those of the Open Inference Protocol v2. Shapes include the batch dimension, which is first and always -1.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]

# The whole numbers that each integer type holds.
INTEGERS: Final[dict[str, tuple[int, int]]] = {
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
}
# What pixels are multiplied by where model.yaml does not say: 0 to 1 for numbers, and as they are for integers.
UNIT_SCALE: Final = 1.0 / 255.0


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tensor. `shape[0]` is -1 (rows); another -1 is a dimension whose size may vary.

    `labels` names the classes: of the values for an integer tensor, of the last dimension for a float one.
    Bytes that are `text` are UTF-8. Texts that become tokens are cut to `max_tokens` of them, and integers that are
    token ids are less than `vocab_size`; 0 where an input is neither, or nothing is known.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()
    allow_nan: bool = False
    text: bool = False
    max_tokens: int = 0
    vocab_size: int = 0

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[1:]


PerChannel = float | tuple[float, ...]


class ImageSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an uploaded image becomes one row of `input`: resized, converted, then `value * scale + offset`, by channel
    where there is one of these for each.

    It is made `width` x `height`; or where `shorter_side` is given, its shorter side that long and the longer one in
    proportion, and `width` x `height` cut out of the middle. Then `scale` is a tuple, also if all are the same: whoever
    knows nothing of `shorter_side` refuses the spec rather than feed the model other pictures.

    `layout` says where the channels go; `HW` is for `L` (gray) images of models without a channel dimension.
    `invert` turns dark-on-light into light-on-dark before scaling; `auto` does so where the border is lighter
    than half, since people upload both.
    """

    input: str
    width: int
    height: int
    mode: Literal["L", "RGB"] = "RGB"
    layout: Literal["CHW", "HWC", "HW"] = "CHW"
    scale: PerChannel = UNIT_SCALE
    offset: PerChannel = 0.0
    invert: Literal["never", "always", "auto"] = "never"
    shorter_side: int = 0  # pixels; 0: the picture is not cut

    @property
    def channels(self) -> int:
        return channels_of(self.mode)


def channels_of(mode: Literal["L", "RGB"]) -> int:
    return 3 if mode == "RGB" else 1


def factors_by_channel(scale: PerChannel, offset: PerChannel) -> Iterator[tuple[float, float]]:
    """`scale` and `offset` of each channel; of three where neither says how many there are."""
    return zip(by_channel(scale, 3), by_channel(offset, 3), strict=False)


def by_channel(value: PerChannel, channels: int) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,) * channels


def default_scale(datatype: Datatype) -> float:
    """What suits an image's input of this type, where model.yaml gives no `scale`."""
    return 1.0 if datatype in INTEGERS else UNIT_SCALE


def why_pixels_do_not_fit(datatype: Datatype, scale: PerChannel, offset: PerChannel) -> str | None:
    """Why `pixel * scale + offset` would not arrive whole in a tensor of this type; None where it does."""
    if datatype not in INTEGERS:
        return None if datatype.startswith("FP") else f"pixels are numbers, and the input is {datatype}"
    problems = (_why_not_whole(datatype, *each) for each in factors_by_channel(scale, offset))
    return next((why for why in problems if why is not None), None)


def _why_not_whole(datatype: Datatype, scale: float, offset: float) -> str | None:
    if not (scale.is_integer() and offset.is_integer() and scale):
        return f"the input is {datatype}: scale and offset must be whole numbers, and scale not 0"
    low, high = INTEGERS[datatype]
    ends = sorted((offset, 255 * scale + offset))
    if not low <= ends[0] <= ends[1] <= high:
        return f"pixels become {ends[0]:g} to {ends[1]:g}, and {datatype} holds {low} to {high}"
    return None


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """Inputs and outputs of a model version. `features` names the columns of a single two-dimensional input."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    features: tuple[str, ...] = ()
    image: ImageSpec | None = None

    def input(self, name: str) -> TensorSpec | None:
        return _named(self.inputs, name)

    def output(self, name: str) -> TensorSpec | None:
        return _named(self.outputs, name)


def _named(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec | None:
    for spec in specs:  # a plain loop: this is asked for every tensor of every job
        if spec.name == name:
            return spec
    return None
