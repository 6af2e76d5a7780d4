"""How many rows a line of a batch has, by its first lines. Pure."""

from statistics import mean
from typing import Final

import msgspec


class _Tensor(msgspec.Struct):
    shape: list[int] = []


class _Body(msgspec.Struct):
    """Of the forms that an input has, those whose rows can be counted without the model's signature."""

    instances: list[msgspec.Raw] | None = None
    inputs: list[_Tensor] | None = None
    input: "_Body | None" = None  # of an envelope


class _Line(msgspec.Struct):
    body: _Body


_lines: Final = msgspec.json.Decoder(_Line)


def rows_a_line(sample: bytes) -> float:
    """The mean of lines that are whole; 1 where none can be read. What is no request counts for none."""
    lines = sample.split(b"\n")
    counts = [rows for line in (lines[:-1] or lines) if line.strip() and (rows := _rows_of(line))]
    return mean(counts) if counts else 1.0


def _rows_of(line: bytes) -> int:
    try:
        body = _lines.decode(line.removeprefix(b"\xef\xbb\xbf")).body
    except (ValueError, RecursionError):
        return 0
    body = body.input or body
    if body.instances is not None:
        return len(body.instances)
    shape = body.inputs[0].shape if body.inputs else []
    return min(max(1, shape[0]), len(line)) if shape else 1  # a row takes a byte at least, whatever a line says
