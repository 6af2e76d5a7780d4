"""Importing a version's handler.py, and what it imports beside itself, without getting into another version's way."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from schemas.errors import ConfigurationError, PenstockError
from workers.inference.models.model_version import ModelVersion

T = TypeVar("T")

HOW_TO_PIN: Final = "add it under sha256 (`penstock models pin` does)"


def make_handler(version: ModelVersion, class_name: str, start: Callable[[type], T]) -> T:
    """Run handler.py, and `start` with its class. Raises `ConfigurationError` telling what went wrong there; to clients
    no more of what the code says than what is missing or no Python.

    Modules beside handler.py can be imported by their names until `start` returns. They are this handler's own: another
    version may bring others of the same names.
    """
    file = version.file
    try:
        with _importable(file):
            return start(_find_class(file, class_name))
    except ConfigurationError:
        raise
    except PenstockError as error:
        raise ConfigurationError(f"{file}: {error.message}") from error
    except (Exception, SystemExit) as error:  # it is not our code: it may raise anything, and even end the process
        if isinstance(error, ModuleNotFoundError) and (unpinned := _unpinned(version, error)) is not None:
            raise ConfigurationError(f"{file}: {unpinned}") from error
        reason = f"{file}: cannot be loaded: {type(error).__name__}"
        words = str(error).partition("\n")[0]
        known = isinstance(error, ImportError | SyntaxError)
        told = None if known else f"{reason}; the worker's log has the rest"
        raise ConfigurationError(f"{reason}: {words}", told=told) from error


def _unpinned(version: ModelVersion, error: ModuleNotFoundError) -> str | None:
    """What to do about a module that lies in the repository and is not among the files that are pinned."""
    name = (error.name or "").partition(".")[0]
    pinned = {pin.name for pin in version.pins}
    for place, beside in ((version.directory, "handler.py"), (version.directory.parent, "model.yaml")):
        for candidate in (f"{name}.py", f"{name}/__init__.py"):
            if name and candidate not in pinned and (place / candidate).is_file():
                return f"{candidate} lies beside {beside} but is not pinned: {HOW_TO_PIN}"
    return None


def module_name(file: Path) -> str:
    """What handler.py is called in `sys.modules`; its directory is one version's alone."""
    return f"{file.parent.name.replace('-', '_')}_{file.stem}"


def _find_class(file: Path, class_name: str) -> type:
    name = module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{file}: is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up, also later
    spec.loader.exec_module(module)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise ConfigurationError(f"{file}: has no class {class_name}")
    return found


@contextmanager
def _importable(file: Path) -> Iterator[None]:
    """Let the modules beside `file` be imported, and forget their names afterwards."""
    directory = file.parent
    names = {path.relative_to(directory).parts[0].removesuffix(".py") for path in directory.rglob("*.py")} - {file.stem}
    for name in sorted(names):
        if name in sys.modules:
            raise ConfigurationError(f"{directory / name}: a module named {name!r} is there already: rename this one")
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for loaded in [module for module in sys.modules if module.partition(".")[0] in names]:
            del sys.modules[loaded]
