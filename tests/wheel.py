"""Our wheel, built from this tree, and environments that it alone is installed into."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).parents[1]
BUILD_TIMEOUT_S = 60.0
INSTALL_TIMEOUT_S = 90.0
COMMAND_TIMEOUT_S = 60.0


def build(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=BUILD_TIMEOUT_S,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


class Installation:
    """An environment of its own, in `folder`. Nothing run there sees this checkout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.empty_folder = folder / "empty"
        uv("venv", "--python", sys.executable, str(folder / "venv"))
        self.empty_folder.mkdir()

    def add(self, requirement: str) -> None:
        uv("pip", "install", "--python", str(self.program("python")), requirement)

    def program(self, name: str) -> Path:
        return self._folder / "venv" / "bin" / name

    def said(self, *command: str) -> str:
        """What a command says that ends well."""
        done = self.run(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *command: str, env: Mapping[str, str] = {}) -> "subprocess.CompletedProcess[str]":
        """Run one of its programs in an empty directory."""
        return subprocess.run(
            [str(self.program(command[0])), *command[1:]],
            cwd=self.empty_folder,
            env={"HOME": str(self.empty_folder), "PATH": "/usr/bin:/bin", "COLUMNS": "80", **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )


def uv(*arguments: str) -> None:
    """Run uv, at the pinned versions: on what its cache holds, which installed this very environment, else online."""
    failed = ""
    for offline in ("1", "0"):
        done = subprocess.run(
            [find_uv_bin(), *arguments],
            env={**os.environ, "UV_CONSTRAINT": str(ROOT / "constraints.txt"), "UV_OFFLINE": offline},
            check=False,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
        if done.returncode == 0:
            return
        failed = done.stderr
    raise AssertionError(f"uv {' '.join(arguments)}: {failed}")
