"""The receivers of docs/webhooks.md as programs that run, each with what it is written with.

Go fetches its one module itself, pinned by `go.sum`; `tests.programs` tells of the rest.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from penstock.embedded.ports import LOOPBACK, choose
from tests.programs import node_command, program
from tests.waiting import eventually_sync

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parents[2] / "docs" / "webhooks.md"
PORT: Final = "8000"
_MARKED: Final = re.compile(r"^<!-- receiver: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def texts() -> dict[str, str]:
    """By the names of their files."""
    return dict(_MARKED.findall(PAGE.read_text()))


class Receiver(NamedTuple):
    """It answers at `url`, and prints into `log`."""

    url: str
    log: Path

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


def python_command(folder: Path, port: int) -> Sequence[str]:
    (folder / "receiver.py").write_text(texts()["receiver.py"])
    return [sys.executable, "-m", "uvicorn", "receiver:app", "--port", str(port), "--log-level", "warning"]


def javascript_command(folder: Path, port: int) -> Sequence[str]:
    return node_command(folder, "receiver.mjs", _at(port, texts()["receiver.mjs"]))


def go_command(folder: Path, port: int) -> Sequence[str]:
    go = program("go")
    for pinned in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / pinned, folder)
    (folder / "main.go").write_text(_at(port, texts()["main.go"]))
    environ = {**os.environ, "CGO_ENABLED": "0"}  # compiles less where nothing was compiled before
    built = subprocess.run(
        [go, "build", "-o", "receiver", "."], cwd=folder, env=environ, capture_output=True, check=False
    )
    assert built.returncode == 0, built.stderr.decode()
    return ["./receiver"]


def _at(port: int, text: str) -> str:
    assert text.count(PORT) == 1
    return text.replace(PORT, str(port))


COMMANDS: Final = {"Python": python_command, "JavaScript": javascript_command, "Go": go_command}


@contextmanager
def running(language: str, folder: Path, secret: str) -> Iterator[Receiver]:
    """The receiver in this language, which knows this secret."""
    (port,) = choose(1)
    command = COMMANDS[language](folder, port)
    environ = {**os.environ, "WEBHOOK_SECRET": secret}
    log = folder / "log"
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            eventually_sync(lambda: _answers(port) or process.poll() is not None, what=f"{language} listens")
            assert process.poll() is None, log.read_text()
            yield Receiver(f"http://{LOOPBACK}:{port}/hooks", log)
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection((LOOPBACK, port), timeout=1)):
        return True
    return False
