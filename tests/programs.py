"""Programs of other languages that tests run, with what they are written with.

What npm brings is installed by the Makefile, pinned by the lock file in `tests/javascript`. A program that is not there
skips what needs it on a laptop, and fails it in CI.
"""

import shutil
import sys
from pathlib import Path
from typing import Final

from tests.services import unavailable

JAVASCRIPT: Final = Path(__file__).parent / "javascript"


def program(name: str) -> str:
    found = shutil.which(name)
    return found if found is not None else unavailable(f"there is no {name} here")


def node_modules() -> Path:
    modules = Path(sys.prefix) / "javascript" / "node_modules"
    return modules if modules.exists() else unavailable("what npm brings is not installed: `make test` does it")


def node_command(folder: Path, name: str, text: str) -> list[str]:
    """What runs the module in `folder`, where it finds what npm brings."""
    node = program("node")
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(node_modules())
    (folder / name).write_text(text)
    return [node, name]


def javascript(name: str) -> str:
    """The text of a program in `tests/javascript`."""
    return (JAVASCRIPT / name).read_text()
