"""Where a model runs: `cpu`, `cuda`, `cuda:<index>`, or `auto`, the first GPU if there is one, else the CPU."""

import re
from typing import NamedTuple

from schemas.errors import ConfigurationError


class Device(NamedTuple):
    cuda_index: int | None  # None: the CPU
    may_fall_back: bool = False  # to the CPU, where the runtime finds no GPU


def parse_device(text: str) -> Device:
    """Raises `ConfigurationError` for anything else than the forms above."""
    if text == "cpu":
        return Device(None)
    if text == "auto":
        return Device(0, may_fall_back=True)
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", text)
    if match is None:
        raise ConfigurationError(f"device {text!r} is none of auto, cpu, cuda, cuda:<index>")
    return Device(int(match[1] or 0))
