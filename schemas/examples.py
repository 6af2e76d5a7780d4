"""What a request to a model looks like: in full, as it can be sent, and in a line of words. Pure."""

import json
import math
from typing import Any, Final

from schemas.signature import Signature, TensorSpec

# A larger row is no example that anybody reads.
MAX_ELEMENTS: Final = 1024
# What is nested deeper can be written by hand as little, and not by every encoder.
MAX_AXES: Final = 32
# Of a list or an object, so many members are written out; of longer ones the first.
SHOWN: Final = 4
# And of lists in lists so many values in all.
SHOWN_VALUES: Final = 16
TEXT: Final = "some text"
# One gray pixel.
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
_OMITTED: Final = "..."


def example_input(signature: Signature) -> dict[str, Any] | None:
    """An input of one row that fits, by the form that is the shortest; None where that would be long."""
    if signature.image is not None:
        return {"instances": [{"b64": PNG}]}
    shapes = [spec.row_shape for spec in signature.inputs]
    if sum(math.prod(abs(size) or 1 for size in shape) for shape in shapes) > MAX_ELEMENTS:
        return None
    if any(len(shape) > MAX_AXES for shape in shapes):
        return None
    if signature.features:
        return {"features": {name: _value(signature.inputs[0]) for name in signature.features}}
    if len(signature.inputs) == 1:
        return {"instances": [_row(signature.inputs[0])]}
    return {"instances": [{spec.name: _row(spec) for spec in signature.inputs}]}


def how_to_send(signature: Signature) -> str:
    """The form of an input in words, shortened, for whoever sent another."""
    if signature.image is not None:
        values = "".join(f', or {{"instances": [{_shown(spec)}]}} with its values' for spec in signature.inputs[:1])
        return (
            'send {"instances": [{"b64": "..."}]} with a PNG or JPEG in base64 a row, or the file itself as '
            f"image/png or image/jpeg{values}"
        )
    if signature.features:
        value = _value(signature.inputs[0])
        names = _shown_object({name: json.dumps(value) for name in signature.features})
        return f'send {{"features": {names}}}, or a list of such objects, one a row'
    if len(signature.inputs) == 1:
        (spec,) = signature.inputs
        return f'send {{"instances": [{_shown(spec)}]}}, {_kind(spec)} a row, for the input {spec.name!r}'
    row = _shown_object({spec.name: _shown(spec) for spec in signature.inputs})
    kinds = ", ".join(f"{spec.name!r} takes {_kind(spec)}" for spec in signature.inputs[:SHOWN])
    return f'send {{"instances": [{row}]}}, one object a row; {kinds}'


def _kind(spec: TensorSpec) -> str:
    if spec.datatype == "BYTES" and not spec.row_shape:
        return "one text"
    if not spec.row_shape:
        return f"one {spec.datatype} value"
    any_size = " (-1: any size)" if -1 in spec.row_shape else ""
    return f"{spec.datatype} values of shape {list(spec.row_shape)}{any_size}"


def _value(spec: TensorSpec) -> Any:
    match spec.datatype:
        case "BYTES":
            return TEXT
        case "BOOL":
            return False
        case "FP16" | "FP32" | "FP64":
            return 0.5
    return 0


def _row(spec: TensorSpec) -> Any:
    row = _value(spec)
    for size in reversed(spec.row_shape):
        row = [row] * abs(size)
    return row


def _shown(spec: TensorSpec) -> str:
    """A row's JSON, without most of it where it is long."""
    text, values = json.dumps(_value(spec)), 1
    for size in reversed(spec.row_shape):
        in_full = 0 < size <= SHOWN and size * values <= SHOWN_VALUES
        members = [text] * size if in_full else [text, _OMITTED]
        values *= size if in_full else 1
        text = f"[{', '.join(members)}]"
    return text


def _shown_object(members: dict[str, str]) -> str:
    shown = [f"{json.dumps(name)}: {value}" for name, value in list(members.items())[:SHOWN]]
    return f"{{{', '.join([*shown, _OMITTED] if len(members) > SHOWN else shown)}}}"
