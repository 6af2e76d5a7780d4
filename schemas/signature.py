"""What a model version takes and gives: the names, datatypes and shapes of its tensors.

Datatypes are those of the Open Inference Protocol v2. Shapes include the batch dimension, which is first and always -1.
"""

from typing import Literal

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


class ImageSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an uploaded image becomes one row of `input`: resized, converted, then `value * scale + offset`.

    `layout` says where the channels go; `HW` is for `L` (gray) images of models without a channel dimension.
    `invert` turns dark-on-light into light-on-dark before scaling; `auto` does so where the border is lighter
    than half, since people upload both.
    """

    input: str
    width: int
    height: int
    mode: Literal["L", "RGB"] = "RGB"
    layout: Literal["CHW", "HWC", "HW"] = "CHW"
    scale: float = 1.0 / 255.0
    offset: float = 0.0
    invert: Literal["never", "always", "auto"] = "never"


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
