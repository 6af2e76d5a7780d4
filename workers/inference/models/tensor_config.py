"""The fields of model.yaml about its tensors: names, types, and shapes without the batch dimension."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveInt

from workers.inference.models.data_types import DataType
from workers.inference.models.model_parameters import Section


def _dimension(size: object) -> object:
    if isinstance(size, int) and not isinstance(size, bool) and (size == -1 or size >= 1):
        return size
    raise ValueError("a dimension is a size of at least 1, or -1 where it varies")


Dimensions = tuple[Annotated[int, BeforeValidator(_dimension)], ...]


class InputConfig(Section):
    name: str = Field(min_length=1)
    data_type: DataType
    dims: Dimensions
    batch_dimension: bool = True  # of the graph's tensor; without one, a run has one row
    allow_nan: bool = False
    text: bool = False  # of TYPE_STRING: UTF-8 only; without being said for ONNX, scikit-learn and tokenizers
    vocab_size: PositiveInt | None = None  # of integers that are token ids: they are less

    @property
    def varying_axes(self) -> tuple[int, ...]:
        return varying_axes(self.dims)


class OutputConfig(Section):
    name: str = Field(min_length=1)
    data_type: DataType
    dims: Dimensions
    batch_dimension: bool = True  # of the graph's tensor; without one, a run has one row
    label_filename: str | None = None  # one class name a line

    @property
    def varying_axes(self) -> tuple[int, ...]:
        return varying_axes(self.dims)


def varying_axes(dims: Dimensions) -> tuple[int, ...]:
    """The axes of the stacked tensor whose sizes vary; axis 0 is the rows."""
    return tuple(axis for axis, size in enumerate(dims, 1) if size == -1)
