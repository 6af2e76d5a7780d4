"""Files that name a model's classes, one a line, as people and their editors write them."""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from schemas.errors import ConfigurationError
from workers.inference.models.pin import Pin, hold_to_pins

MAX_LABEL_BYTES: Final = 4 * 1024 * 1024
# Where an editor ends a line. Python's `splitlines` ends one at eight characters more.
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_labels(path: Path, pins: tuple[Pin, ...] = ()) -> tuple[str, ...]:
    """The names in the file, all of them different. Raises `ConfigurationError` for a file that is not as pinned, or
    that names no classes."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LABEL_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_LABEL_BYTES:
        raise ConfigurationError(f"{path}: is larger than {MAX_LABEL_BYTES} bytes")
    hold_to_pins(path, data, pins)
    try:
        return labels_in(data)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def labels_in(data: bytes) -> tuple[str, ...]:
    """One name a line, without the spaces and tabs around it; empty lines at the end are none. Where two classes have
    the same name, the number of the class is put behind it. Raises `ValueError`."""
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"must be text in UTF-8: byte {error.start} cannot be read") from error
    names = [line.strip() for line in _LINE_END.split(text.rstrip())]
    for number, name in enumerate(names, 1):
        if not name:
            raise ValueError(f"must hold one class name a line, and line {number} is empty")
    return _told_apart(names)


def labels_text(names: Sequence[str]) -> str | None:
    """What a file holds that `labels_in` reads as these names; None where they cannot stand in a line each."""
    text = "".join(f"{name}\n" for name in names)
    try:
        return text if labels_in(text.encode()) == tuple(names) else None
    except ValueError:
        return None


def _told_apart(names: list[str]) -> tuple[str, ...]:
    times = Counter(names)
    labels = tuple(name if times[name] == 1 else f"{name} ({index})" for index, name in enumerate(names))
    for name, count in Counter(labels).items():
        if count > 1:
            raise ValueError(f"names two classes {name!r}")
    return labels


def numbered(labels: Sequence[str]) -> list[str]:
    """Those that have the number of the class behind them."""
    return [label for index, label in enumerate(labels) if label.endswith(f" ({index})")]


def misfit_of(data_type: str, dims: Sequence[int], labels: int) -> str | None:
    """Why an output of this type and shape cannot have so many labels; None if it can. A float output has a class a
    column, in its last dimension. Of integers, which are the numbers of classes, no shape says how many there are."""
    classes = dims[-1] if dims else 1
    if not data_type.startswith("TYPE_FP") or classes == labels:
        return None
    return f"has {labels} labels, and the output {classes} classes with dims {list(dims)}"
