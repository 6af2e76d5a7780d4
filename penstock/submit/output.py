"""The output file: one outcome a line, each there for good once it is written."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.submit.outcome import Outcome

_encoder = msgspec.json.Encoder()


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The file at `path`, or standard output for `-`."""
    if path == "-":
        yield sys.stdout.buffer
        return
    with Path(path).open("wb") as file:
        yield file


def write(file: BinaryIO, outcome: Outcome) -> None:
    """Append the outcome and hand it to the operating system, so that the file holds whole lines whenever we end."""
    file.write(_encoder.encode(outcome) + b"\n")
    file.flush()
