"""A page that a reader follows from top to bottom: files to be written, and commands to be run among them.

A comment before a block says what the block is:

    <!-- file: models/fraud/model.yaml -->      its content; a leading `# ...` stays
    <!-- runs: "status":"succeeded" -->         commands of `sh`, and a piece of what they print
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

PATIENCE_S: Final = 300  # of a command: programs that import torch, on a machine that others use as well
_STEP: Final = re.compile(
    r"^<!-- (?P<kind>file|runs): ?(?P<note>[^\n]*?) ?-->\n```[a-z]+\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL
)
_BLOCK: Final = re.compile(r"^```(?:sh|python|yaml)$", re.MULTILINE)


class Step(NamedTuple):
    """A file with its `note` for a path, or commands with what they print."""

    is_file: bool
    note: str
    content: str


def steps_of(page: Path) -> list[Step]:
    return [
        Step(match["kind"] == "file", match["note"], match["content"]) for match in _STEP.finditer(page.read_text())
    ]


def blocks_in(page: Path) -> int:
    """How many blocks of code the page has, whether or not they say what they are."""
    return len(_BLOCK.findall(page.read_text()))


def walk(
    page: Path,
    folder: Path,
    *,
    replaced: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    before: Callable[[str], None] = lambda _: None,
) -> None:
    """Write and run everything in `folder`; what is `replaced`, such as addresses, is so in both. `before` is called
    with commands that are about to be run.

    Raises `AssertionError` where a command fails, or does not print what the page says.
    """
    for step in steps_of(page):
        content = step.content
        for shown, meant in (replaced or {}).items():
            content = content.replace(shown, meant)
        if step.is_file:
            (folder / step.note).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.note).write_text(content)
        else:
            before(content)
            _run(content, step.note, folder, environ or {})


# What some pages run beside Python; they may be anywhere.
LANGUAGES: Final = ("go", "node")


def _run(commands: str, expected: str, folder: Path, environ: Mapping[str, str]) -> None:
    found = [sys.executable, *(path for name in LANGUAGES if (path := shutil.which(name)))]
    programs = ":".join(dict.fromkeys(str(Path(each).parent) for each in found))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, **environ, "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    assert expected in done.stdout, f"{commands}\n{done.stdout}"
