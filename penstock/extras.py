"""How to add to an installation what it was made without."""

import shlex
import sys
from importlib.util import find_spec


def install_command(extra: str) -> str:
    """A command that adds what `extra` brings to the environment that this process runs in.

    The environments that uv makes, `uv tool install` among them, have no pip.
    """
    if find_spec("pip") is not None:
        return shlex.join([sys.executable, "-m", "pip", "install", f"penstock[{extra}]"])
    return shlex.join(["uv", "pip", "install", "--python", sys.executable, f"penstock[{extra}]"])
