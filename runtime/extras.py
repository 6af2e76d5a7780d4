"""How to add to an installation what it was made without.

A command names what this installation was made from, a checkout or a wheel, and the environment that it stands in. The
name of the distribution is not that of the command: another project has `penstock` on PyPI.
"""

import json
import shlex
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

NAME: Final = "penstock-inference"


def with_extra(extra: str) -> str:
    """The remedy in words, where whoever reads them may not be on the machine that lacks it."""
    return f"install Penstock with its extra {extra}"


def install_command(extra: str) -> str:
    """A command that adds what `extra` brings to the environment that this process runs in."""
    origin, editable = _origin(distribution(NAME))
    if origin is None:  # an index of one's own, perhaps: installers keep the release that is there
        return shlex.join([*_installer(), f"{NAME}[{extra}]=={distribution(NAME).version}"])
    what = f"{origin}[{extra}]"
    if not editable:
        return shlex.join([*_installer(), what])
    uv, constraints = Path(sys.executable).with_name("uv"), origin / "constraints.txt"
    if uv.exists() and constraints.exists():  # as the Makefile does it; pip cannot: the constraints have hashes
        return shlex.join([*_uv(str(uv)), "--constraints", str(constraints), "--editable", what])
    return shlex.join([*_installer(), "--editable", what])


def _origin(ours: Distribution) -> tuple[Path | None, bool]:
    """The wheel or the folder that we were installed from, if it is still there, and whether we are run from there.

    As installers record it: https://packaging.python.org/specifications/direct-url/
    """
    try:
        direct = json.loads(ours.read_text("direct_url.json") or "{}")
        url = urlsplit(direct.get("url", ""))
        path = Path(url2pathname(url.path))
        there = url.scheme == "file" and path.exists()
        return (path if there else None), bool(direct.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError, TypeError):  # not as installers write it
        return None, False


def _installer() -> list[str]:
    """The environments that uv makes, `uv tool install` among them, have no pip."""
    try:
        distribution("pip")
    except PackageNotFoundError:
        return _uv("uv")
    return [sys.executable, "-m", "pip", "install"]


def _uv(program: str) -> list[str]:
    return [program, "pip", "install", "--python", sys.executable]
