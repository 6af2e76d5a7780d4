"""Our side of the reaper: a small process that outlives us and ends every child we leave behind."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import IO, Self

from penstock import reaper_program

# A child tells the reaper its own process id before it becomes the program it is to run, so that there is no moment at
# which it runs and nobody knows. It finds the reaper's pipe as its standard input, which it then gives up.
REGISTER_THEN_RUN = 'echo "+ $$ $0 $1" >&0 && shift && exec "$@" </dev/null'


class Reaper:
    """Runs the reaper program while the block lasts.

    `holds` are file descriptors that it keeps open as long as it lives: the lock of a data directory is one, so that
    nobody takes the directory while processes that use it are still ending. A reaper that somebody killed is started
    again before the next child is, which could not register otherwise, and in the end; the new one is told what the
    old one knew.
    """

    def __init__(self, holds: Sequence[int] = ()) -> None:
        self._holds = tuple(holds)
        self._process: subprocess.Popen[bytes] | None = None
        self._children: dict[int, str] = {}  # how each registered, by its process id
        self._directories: list[str] = []
        self._telling = threading.Lock()

    def __enter__(self) -> Self:
        if self._process is not None:
            raise RuntimeError("the reaper is running")
        self._process = self._start()
        return self

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", reaper_program.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=self._holds,
            cwd="/",
            bufsize=0,
            start_new_session=True,  # a Ctrl-C in the terminal is not for it
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._telling:
            self._start_again_if_killed()
            self._stdin().close()  # it ends what is left and goes
        self._running().wait()
        self._process = None

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def pipe(self) -> int:
        """The file descriptor that a child started with `registering` needs as its standard input."""
        with self._telling:
            self._start_again_if_killed()
            return self._stdin().fileno()

    @staticmethod
    def registering(argv: Sequence[str], stop_signal: Signals, wave: int) -> list[str]:
        """The command that registers itself as a process group to be ended with `stop_signal`, and becomes `argv`."""
        return ["/bin/sh", "-c", REGISTER_THEN_RUN, stop_signal.name, str(wave), *argv]

    def remember(self, pid: int, stop_signal: Signals, wave: int) -> None:
        """The process was started with `registering`, and has yet to end."""
        with self._telling:
            self._children[pid] = f"+ {pid} {stop_signal.name} {wave}\n"

    def forget(self, pid: int) -> None:
        """The process has ended, and its number may soon be another's."""
        with self._telling:
            self._children.pop(pid, None)
            self._tell(f"- {pid}\n")

    def remove_in_the_end(self, directory: Path) -> None:
        """Remove the directory when all processes are gone, however we ended."""
        with self._telling:
            self._directories.append(f"d {directory}\n")
            self._tell(self._directories[-1])

    def _start_again_if_killed(self) -> None:
        if self._running().poll() is not None:
            self._stdin().close()
            self._process = self._start()
            for line in (*self._children.values(), *self._directories):
                self._tell(line)

    def _tell(self, line: str) -> None:
        if self._process is None:
            return  # it went, and took everything along
        # Somebody may have killed it (BrokenPipeError), or we may be closing it this moment (ValueError):
        # what we own we still end ourselves.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._stdin().write(line.encode())

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the reaper is not running")
        return self._process

    def _stdin(self) -> IO[bytes]:
        stdin = self._running().stdin
        if stdin is None:
            raise RuntimeError("the reaper was started without a pipe")
        return stdin
