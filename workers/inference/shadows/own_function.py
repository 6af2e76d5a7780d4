"""The function by which a model compares answers itself: `compare.function` of its model.yaml."""

import sys
from pathlib import Path
from types import ModuleType

from schemas.errors import ConfigurationError
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import hold_to_pins
from workers.inference.shadows.comparing import Function


def load_function(version: ModelVersion) -> Function | None:
    """Run the module, which is held to its digest, and give its function; None where the model has none.

    Raises `ConfigurationError` for a file that is not as pinned or has no such function, and whatever the module does.
    """
    config = version.compare
    if config is None or config.function is None:
        return None
    module_name, _, name = config.function.partition(":")
    path = _file(version, f"{module_name}.py")
    source = path.read_bytes()
    hold_to_pins(path, source, version.pins)
    module = ModuleType(f"{version.model}_{version.version}_{module_name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look up what their annotations name
    exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - trusted and pinned, as handlers are
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigurationError(f"{path}: has no function {name}")
    found: Function = function
    return found


def _file(version: ModelVersion, filename: str) -> Path:
    """Only a file that is pinned is one: the configuration asks for the pin."""
    for pin in version.pins:
        if pin.name == filename:
            return pin.file
    raise ConfigurationError(f"{version.name}: {filename} is not pinned")
