"""The fields of model.yaml about which rows run together: what a row costs, how rows of different sizes are padded."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from workers.inference.models.model_parameters import Section

MaskType = Literal["TYPE_BOOL", "TYPE_INT32", "TYPE_INT64", "TYPE_FP32"]


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
