"""The element types of tensors, as model.yaml writes them."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from schemas.signature import Datatype


def in_full(data_type: object) -> object:
    """The type with the prefix of Triton's configuration, which may be left out, and by its word for texts."""
    if not isinstance(data_type, str) or data_type.startswith("TYPE_"):
        return data_type
    return "TYPE_STRING" if data_type == "BYTES" else f"TYPE_{data_type}"


_TritonType = Literal[
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
]
DataType = Annotated[_TritonType, BeforeValidator(in_full)]
# Triton's configuration and the protocol differ in one word besides the prefix.
DATATYPES: Final[dict[_TritonType, Datatype]] = {
    "TYPE_BOOL": "BOOL",
    "TYPE_UINT8": "UINT8",
    "TYPE_UINT16": "UINT16",
    "TYPE_UINT32": "UINT32",
    "TYPE_UINT64": "UINT64",
    "TYPE_INT8": "INT8",
    "TYPE_INT16": "INT16",
    "TYPE_INT32": "INT32",
    "TYPE_INT64": "INT64",
    "TYPE_FP16": "FP16",
    "TYPE_FP32": "FP32",
    "TYPE_FP64": "FP64",
    "TYPE_STRING": "BYTES",
}
