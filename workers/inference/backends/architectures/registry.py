"""Finding an architecture by name: ours, or one that an installed package registers.

A package registers `name = "module:build"` in the entry point group `penstock.architectures`. `build` takes
`parameters.torch.config` of model.yaml and returns a `torch.nn.Module`, whose `forward` takes the inputs by name and
returns the outputs by name, or the only output.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import torch

from schemas.errors import ConfigurationError

Architecture = Callable[[Mapping[str, Any]], torch.nn.Module]

GROUP: Final = "penstock.architectures"
_OURS: Final = ("bert", "sequential")


def find_architecture(name: str) -> Architecture:
    """Raises `ConfigurationError` for a name that nobody registered. A registered name cannot replace one of ours."""
    if name in _OURS:
        build: Architecture = import_module(f"{__package__}.{name}").build
        return build
    registered = entry_points(group=GROUP)
    if name not in registered.names:
        known = ", ".join(sorted({*_OURS, *registered.names}))
        raise ConfigurationError(f"parameters.torch.architecture: {name!r} is none of {known}")
    architecture: Architecture = registered[name].load()
    return architecture
