"""How to add to an installation what it was made without."""

import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution


def install_command(extra: str) -> str:
    """A command that adds what `extra` brings to the environment that this process runs in.

    The environments that uv makes, `uv tool install` among them, have no pip.
    """
    try:
        distribution("pip")
    except PackageNotFoundError:
        return shlex.join(["uv", "pip", "install", "--python", sys.executable, f"penstock[{extra}]"])
    return shlex.join([sys.executable, "-m", "pip", "install", f"penstock[{extra}]"])
