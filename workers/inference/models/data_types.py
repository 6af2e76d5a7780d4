"""The element types of tensors, as model.yaml writes them."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from schemas.malformed import closest
from schemas.signature import Datatype

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
# What the commonest types are called elsewhere.
_ELSEWHERE: Final = {"FLOAT": "FP32", "DOUBLE": "FP64", "HALF": "FP16", "INT": "INT64", "LONG": "INT64", "STR": "BYTES"}


def in_full(data_type: object) -> object:
    """The type with the prefix of Triton's configuration, which may be left out, and by its word for texts."""
    if not isinstance(data_type, str):
        raise ValueError(f"must be the name of a type, as FP32 or TYPE_FP32, not {data_type}")  # noqa: TRY004 - pydantic
    bare = data_type.removeprefix("TYPE_")
    name = "TYPE_STRING" if bare in ("STRING", "BYTES") else f"TYPE_{bare}"
    if name in DATATYPES:
        return name
    known = list(DATATYPES.values())
    meant = closest(_ELSEWHERE.get(bare.upper(), bare.upper().replace("FLOAT", "FP")), known)
    hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"
    raise ValueError(f"there is no type {data_type[:60]!r} ({hint})")


DataType = Annotated[_TritonType, BeforeValidator(in_full)]
