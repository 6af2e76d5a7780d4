"""Runtimes that not every machine has: their tests are skipped on a laptop without them, and fail in CI."""

import os
from importlib import import_module
from importlib.util import find_spec

import pytest


def need(module: str) -> None:
    """Skip the tests of the calling module where `module` is not installed; in CI, raise `ImportError`."""
    if os.environ.get("CI"):
        import_module(module)
    elif find_spec(module) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)
