"""Where a model runs: on the CPU, or on the one GPU that belongs to this process.

A worker is told its device once: `cpu`, `auto` (the first GPU if there is one, else the CPU), `cuda` (the first GPU),
`cuda:<index>`, or a GPU by its own name as `nvidia-smi -L` prints it: `cuda:GPU-<uuid>`, `GPU-<uuid>`, `MIG-<uuid>`.
It claims a GPU by hiding all others from itself before any runtime is imported: runtimes then find one device, number
0, none can allocate on another by mistake, and child processes inherit it.
"""

import re
from collections.abc import MutableMapping
from typing import Final, NamedTuple

from schemas.errors import ConfigurationError

# Source: CUDA programming guide, environment variables.
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
ORDER: Final = "CUDA_DEVICE_ORDER"

_INDEX: Final = re.compile(r"cuda(?::(\d{1,3}))?")
_UUID: Final = re.compile(r"(?:cuda:)?((?:GPU|MIG)-[0-9A-Za-z][0-9A-Za-z/-]*)")


class Device(NamedTuple):
    cuda_index: int | None  # None: the CPU
    may_fall_back: bool = False  # to the CPU, where the runtime finds no GPU


def parse_device(text: str) -> Device:
    """What a runtime is asked for. Raises `ConfigurationError` for anything but auto, cpu, cuda and cuda:<index>."""
    if text == "cpu":
        return Device(None)
    if text == "auto":
        return Device(0, may_fall_back=True)
    match = _INDEX.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"device {text!r} is none of auto, cpu, cuda, cuda:<index>, cuda:GPU-<uuid>")
    return Device(int(match[1] or 0))


def claim_device(text: str, environ: MutableMapping[str, str]) -> str:
    """Leave only the GPU that `text` means visible in `environ`, and say what to ask the runtimes for instead.

    To be called with `os.environ` before a runtime is imported: CUDA reads it once. An index counts what is visible so
    far, in the order of `nvidia-smi` unless `CUDA_DEVICE_ORDER` already says otherwise; CUDA's own default order is by
    speed, under which an index means one GPU to CUDA and another to everybody else. Raises `ConfigurationError` for a
    device that is not well-formed, or that lies beyond an inherited list. Whether it exists, the runtime finds out.
    """
    uuid = _UUID.fullmatch(text)
    device = Device(0) if uuid else parse_device(text)
    if device.cuda_index is None:
        return text
    environ.setdefault(ORDER, "PCI_BUS_ID")
    chosen = uuid[1] if uuid else _visible(environ.get(VISIBLE), device.cuda_index)
    if chosen is None and not device.may_fall_back:
        raise ConfigurationError(f"device {text} was asked for, and {VISIBLE} is {environ[VISIBLE]!r}")
    environ[VISIBLE] = chosen or ""
    return "auto" if device.may_fall_back else "cuda:0"


def _visible(inherited: str | None, index: int) -> str | None:
    """The entry `index` of an inherited list; without one every GPU is visible under its own number."""
    if inherited is None:
        return str(index)
    entries = []
    for entry in map(str.strip, inherited.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-.+", entry):
            break  # CUDA sees nothing behind an entry that is none, as -1
        entries.append(entry)
    return entries[index] if index < len(entries) else None
