"""Importing what models run on while the worker waits for other things: torch alone takes seconds."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module

from workers.inference.models.model_version import ModelVersion
from workers.inference.models.platforms import PLATFORMS


def modules_of(versions: Iterable[ModelVersion]) -> list[str]:
    """What the versions need in this process, each once; of those that have a process of their own, nothing."""
    here = (PLATFORMS[version.platform].modules for version in versions if version.isolation == "none")
    return list(dict.fromkeys(module for modules in here for module in modules))


def import_ahead(modules: Sequence[str]) -> None:
    """Blocks. What cannot be imported is told when a version that needs it is loaded."""
    for module in modules:
        with suppress(Exception):
            import_module(module)
