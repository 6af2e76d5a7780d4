"""The schema of model.yaml: what one model version is, with Triton's field names where Triton has one.

`model_file` reads the file and lays a version's overrides over it; here are the fields and the rules among them.
Source of the names: Triton Inference Server's model configuration (`ModelConfig` protocol buffer).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from schemas.jobs import LONGEST_RETENTION_S, MIN_RETENTION_S
from schemas.signature import (
    Datatype,
    ImageSpec,
    PerChannel,
    TensorSpec,
    by_channel,
    channels_of,
    default_scale,
    factors_by_channel,
    why_pixels_do_not_fit,
)
from workers.inference.models.batching_config import BatchedConfig
from workers.inference.models.compare_config import CompareConfig, compare_problems
from workers.inference.models.data_types import DATATYPES
from workers.inference.models.model_parameters import Section
from workers.inference.models.platforms import PLATFORMS, PlatformName, Trust
from workers.inference.models.reference_rows import ReferenceRows, reference_problems
from workers.inference.models.tensor_config import InputConfig, OutputConfig

MetricValue = float | int | str
Isolation = Literal["none", "process"]
# What networks of texts call the input that they look up in their vocabulary.
LOOKED_UP_INPUT: Final = "input_ids"


LARGEST_FP32: Final = 2.0**127


def _digest(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value
    raise ValueError("must be the file's SHA-256 in 64 hexadecimal digits, as `sha256sum` prints it")


Digest = Annotated[str, BeforeValidator(_digest)]


class Warmup(Section):
    batch_size: PositiveInt
    length: PositiveInt = 1  # of every dimension that varies


def _per_channel(value: object) -> object:
    """A number, or a list of them, one a channel."""
    if _is_number(value):
        return value
    if isinstance(value, list | tuple) and value and all(map(_is_number, value)):
        return tuple(value)
    raise ValueError("must be a number, or a list with one a channel")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Channels = Annotated[PerChannel, BeforeValidator(_per_channel)]


class ImageConfig(Section):
    """How an uploaded image becomes a row; meaning of the fields as in `schemas.signature.ImageSpec`.

    With `crop: center` the shorter side becomes `resize` pixels long, and `width` x `height` are cut out of the middle.
    `mean` and `std` are taken off after `scale`: `(value * scale - mean) / std`, as torchvision's `Normalize`.
    """

    input: str | None = None  # default: the only input
    width: PositiveInt
    height: PositiveInt
    mode: Literal["L", "RGB"] = "RGB"
    layout: Literal["CHW", "HWC", "HW"] = "CHW"
    scale: Channels | None = None  # default: what suits the input's type
    offset: Channels = 0.0
    mean: Channels | None = None
    std: Channels | None = None
    invert: Literal["never", "always", "auto"] = "never"
    resize: PositiveInt | None = None  # of the shorter side; default: the longer one of width and height
    crop: Literal["none", "center"] = "none"

    @property
    def row_shape(self) -> tuple[int, ...]:
        size = (self.height, self.width)
        return {"CHW": (self.channels, *size), "HWC": (*size, self.channels), "HW": size}[self.layout]

    @property
    def channels(self) -> int:
        return channels_of(self.mode)

    def problems(self) -> Iterator[str]:
        for name in ("scale", "offset", "mean", "std"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.channels:
                yield f"image.{name}: has {len(value)} numbers, and mode {self.mode} has {self.channels} channels"
        if self.std is not None and 0 in by_channel(self.std, 1):
            yield "image.std: must not be 0"
        if self.offset != 0 and (self.mean is not None or self.std is not None):
            yield "image.offset: goes without mean and std, which say the same"
        if self.resize is not None and self.crop == "none":
            yield "image.resize: is for crop: center; without it an image becomes width x height as it is"
        if self.resize is not None and self.resize < max(self.width, self.height):
            yield f"image.resize: {self.resize} pixels are less than the {max(self.width, self.height)} to be cut out"

    def factors(self, datatype: Datatype) -> tuple[PerChannel, PerChannel]:
        """What pixels are multiplied by, and what is added then."""
        scale = default_scale(datatype) if self.scale is None else self.scale
        normalized = self.mean is not None or self.std is not None
        if not (normalized or self.crop == "center" or isinstance(scale, tuple) or isinstance(self.offset, tuple)):
            return scale, self.offset
        scales, offsets, means, stds = (
            by_channel(value, self.channels)
            for value in (scale, self.offset, self.mean or 0.0, 1.0 if self.std is None else self.std)
        )
        channels = list(zip(scales, offsets, means, stds, strict=True))
        return (
            tuple(scale / std for scale, _, _, std in channels),
            tuple(offset - mean / std for _, offset, mean, std in channels),
        )

    def spec(self, only_input: TensorSpec) -> ImageSpec:
        scale, offset = self.factors(only_input.datatype)
        return ImageSpec(
            input=only_input.name,
            width=self.width,
            height=self.height,
            mode=self.mode,
            layout=self.layout,
            scale=scale,
            offset=offset,
            invert=self.invert,
            shorter_side=(self.resize or max(self.width, self.height)) if self.crop == "center" else 0,
        )


class VersionConfig(BatchedConfig):
    """Everything model.yaml says of one version, its overrides laid over the model's own fields."""

    platform: tuple[PlatformName, ...] = Field(min_length=1)
    model_warmup: tuple[Warmup, ...] | None = None  # default: see backends/warmup.py; empty: none
    reference_rows: ReferenceRows | None = None
    compare: CompareConfig | None = None
    isolation: Isolation = "none"
    run_limit_seconds: PositiveFloat | None = None  # of one run of a micro-batch
    retention_s: int | None = Field(None, ge=MIN_RETENTION_S, le=LONGEST_RETENTION_S)  # of its jobs, after their ends
    errors: Literal["class", "detail"] = "class"  # what clients are told of an exception of the model's
    trust: Trust = "data"
    sha256: dict[str, Digest] = Field(default_factory=dict)  # by file name
    image: ImageConfig | None = None
    features: tuple[str, ...] = ()
    description: str = ""
    metrics: dict[str, MetricValue] = Field(default_factory=dict)

    def vocab_size_of(self, tensor: InputConfig) -> int | None:
        """How many token ids there are, where the input holds them and it is known."""
        if tensor.vocab_size is not None or "INT" not in tensor.data_type:
            return tensor.vocab_size
        looked_up = tensor.name == LOOKED_UP_INPUT or len(self.input) == 1
        return self.parameters.vocab_size if looked_up else None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        problems = [
            *self._repeated_names(),
            *self._warmup_problems(),
            *self._value_problems(),
            *reference_problems(self.reference_rows, self.input, self.output, self.max_batch_size),
            *compare_problems(self.compare, self.output, list(self.sha256), self.trust),
            *self._tokenizer_problems(),
            *self.batching_problems(),
            *self._batch_dimension_problems(),
            *self._image_problems(),
            *self._feature_problems(),
            *self._trust_problems(),
            *self._endpoint_problems(),
            *self._sklearn_problems(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _repeated_names(self) -> Iterator[str]:
        for field, names in (
            ("input", [tensor.name for tensor in self.input]),
            ("output", [tensor.name for tensor in self.output]),
            ("features", list(self.features)),
            ("platform", list(map(str, self.platform))),
            ("dynamic_batching.batch_by", list(self.dynamic_batching.batch_by)),
        ):
            yield from (f"{field}: {name!r} is listed twice" for name, n in Counter(names).items() if n > 1)

    def _warmup_problems(self) -> Iterator[str]:
        for index, warmup in enumerate(self.model_warmup or ()):
            if warmup.batch_size > self.max_batch_size:
                yield (
                    f"model_warmup[{index}].batch_size: {warmup.batch_size} is more than "
                    f"max_batch_size, {self.max_batch_size}"
                )

    def _value_problems(self) -> Iterator[str]:
        for tensor in self.input:
            if tensor.text and tensor.data_type != "TYPE_STRING":
                yield f"input {tensor.name!r}: text: is for TYPE_STRING, and this is {tensor.data_type}"
            if tensor.vocab_size is not None and "INT" not in tensor.data_type:
                yield f"input {tensor.name!r}: vocab_size: is for integers, and this is {tensor.data_type}"
            size, padded = self.vocab_size_of(tensor), self.padding.inputs.get(tensor.name)
            if size is not None and padded is not None and padded.value not in range(size):
                yield f"padding.inputs.{tensor.name}.value: {padded.value!r} is no token id, which are 0 to {size - 1}"

    def _tokenizer_problems(self) -> Iterator[str]:
        tokenizer = self.parameters.tokenizer
        if tokenizer is None:
            return
        tensor = self._input(tokenizer.input)
        if tensor is None:
            yield f"parameters.tokenizer.input: {tokenizer.input!r} is not among the inputs"
        elif tensor.data_type != "TYPE_STRING" or tensor.dims:
            yield f"parameters.tokenizer.input: {tokenizer.input!r} must be TYPE_STRING with dims [], one text a row"
        for name in tokenizer.produces:
            if self._input(name) is not None:
                yield f"parameters.tokenizer.produces: {name!r} is already an input of the model"

    @property
    def batchless(self) -> frozenset[str]:
        """Tensors of the graph that have no batch dimension."""
        tensors: list[InputConfig | OutputConfig] = [*self.input, *self.output]
        return frozenset(tensor.name for tensor in tensors if not tensor.batch_dimension)

    def _batch_dimension_problems(self) -> Iterator[str]:
        if self.batchless and self.max_batch_size != 1:
            yield f"max_batch_size: must be 1, since {min(self.batchless)!r} has batch_dimension: false"
        if self.batchless and set(self.platform) != {"onnxruntime_onnx"}:
            yield "batch_dimension: is for tensors of a graph that onnxruntime_onnx runs"

    def _image_problems(self) -> Iterator[str]:
        if self.image is None:
            return
        if (self.image.layout == "HW") and self.image.mode == "RGB":
            yield "image.layout: HW has no place for the three channels of mode RGB"
            return
        if problems := list(self.image.problems()):
            yield from problems
            return
        if len(self.input) != 1:
            yield f"image: an image makes one input, and the model has {len(self.input)}"
            return
        (tensor,) = self.input
        if self.image.input not in (None, tensor.name):
            yield f"image.input: {self.image.input!r} is not among the inputs"
        datatype = DATATYPES[tensor.data_type]
        factors = self.image.factors(datatype)
        if not _are_numbers(*factors):
            yield "image: scale, offset, mean and std make pixels that are no numbers of FP32"
            return
        unfit = why_pixels_do_not_fit(datatype, *factors)
        if unfit is not None:
            yield f"image: {unfit} (input {tensor.name!r})"
        if not _fits(tensor.dims, self.image.row_shape):
            yield (
                f"image: makes rows of shape {list(self.image.row_shape)}, and input {tensor.name!r} "
                f"has dims {list(tensor.dims)}"
            )

    def _feature_problems(self) -> Iterator[str]:
        if not self.features:
            return
        if len(self.input) != 1:
            yield f"features: names the columns of one input, and the model has {len(self.input)}"
            return
        (tensor,) = self.input
        if -1 in tensor.dims or math.prod(tensor.dims) != len(self.features):
            yield (
                f"features: {len(self.features)} names do not fit input {tensor.name!r} with dims {list(tensor.dims)}"
            )

    def _trust_problems(self) -> Iterator[str]:
        for name in self.platform:
            platform = PLATFORMS[name]
            if platform.runs_code and self.trust != "code":
                yield f"trust: must be code, since {name} runs code that the model brings"
            if platform.runs_code and platform.filename not in self.sha256:
                yield (
                    f"sha256: must pin {platform.filename}, which {name} runs (`penstock models pin` writes it there)"
                )
        for pinned in self.sha256:
            path = PurePosixPath(pinned)
            if path.is_absolute() or ".." in path.parts or str(path) != pinned:
                yield f"sha256: {pinned!r} must be a plain path within the version's directory"

    def _endpoint_problems(self) -> Iterator[str]:
        if "huggingface_endpoint" not in self.platform or self.parameters.endpoint.answer == "fields":
            return
        if [(tensor.data_type, tensor.dims) for tensor in self.output] != [("TYPE_STRING", ())]:
            yield (
                "output: an EndpointHandler's answer as JSON text is a single output, TYPE_STRING with dims []; "
                "with parameters.endpoint.answer: fields, outputs are taken from it by name"
            )

    def _sklearn_problems(self) -> Iterator[str]:
        if "sklearn_joblib" in self.platform and len(self.input) > 1:
            yield from (
                f"input: scikit-learn takes one table [rows, features], or a column an input with dims []; "
                f"{tensor.name!r} has dims {list(tensor.dims)}"
                for tensor in self.input
                if tensor.dims
            )
        outputs = {tensor.name for tensor in self.output}
        for name in self.parameters.sklearn.methods:
            if name not in outputs:
                yield f"parameters.sklearn.methods: {name!r} is not among the outputs"

    def _input(self, name: str) -> InputConfig | None:
        return next((tensor for tensor in self.input if tensor.name == name), None)


def _fits(dims: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(dims) == len(shape) and all(want in (-1, size) for want, size in zip(dims, shape, strict=True))


def _are_numbers(scale: PerChannel, offset: PerChannel) -> bool:
    """Whether all pixels become finite numbers of FP32, as which they are made whatever the input's type."""
    return all(abs(scale) * 255.0 + abs(offset) < LARGEST_FP32 for scale, offset in factors_by_channel(scale, offset))
