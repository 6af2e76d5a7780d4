"""`penstock up` in a process of its own, as a person runs it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Final

import psutil

from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
READY_WITHIN_S = 60.0


class UpProcess:
    """What was started, and what it wrote so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    async def ready(self, timeout_s: float = READY_WITHIN_S) -> str:
        """The gateway's address, when everything is there."""
        found = await eventually(self._ready_or_ended, timeout_s, what="`up` is ready")
        assert isinstance(found, re.Match), f"`up` ended: {self.output}"
        return found[1]

    def _ready_or_ended(self) -> re.Match[str] | int | None:
        return re.search(r"API +(http://\S+)/v1", self.output) or self.process.poll()

    async def says(self, words: str, timeout_s: float = 30.0) -> None:
        await eventually(lambda: words in self.output, timeout_s, what=f"`up` says: {words}")

    async def ends(self, timeout_s: float = 30.0) -> int:
        await eventually(lambda: self.process.poll() is not None, timeout_s, what="`up` has ended")
        return self.process.returncode

    def send(self, how: Signals) -> None:
        self.process.send_signal(how)

    def family(self) -> list[psutil.Process]:
        """Everything that it started, directly or not."""
        return psutil.Process(self.process.pid).children(recursive=True)


NO_VARIABLES: Final[Mapping[str, str]] = {}


@contextmanager
def running_up(
    scratch: Path,
    *arguments: str,
    program: Sequence[str] = (sys.executable, "-m", "penstock"),
    cwd: Path = ROOT,
    variables: Mapping[str, str] = NO_VARIABLES,
) -> Iterator[UpProcess]:
    output = scratch / "up.log"
    with (
        output.open("wb") as log,
        subprocess.Popen(
            [*program, "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env={**os.environ, **variables},
        ) as process,
    ):
        up = UpProcess(process, output)
        try:
            yield up
        finally:
            if process.poll() is None:
                family = up.family()
                process.send_signal(SIGKILL)
                # Whoever removes the directory next must not find them writing to it.
                psutil.wait_procs(family, timeout=30)


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; that nobody has taken note of its end yet is another matter."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
