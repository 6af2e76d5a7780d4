"""One child process in a session of its own, ended with us in every case."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from penstock.errors import StackError
from penstock.reaper import Reaper


@dataclass(frozen=True)
class Account:
    """The user that a child runs as, where it is not ourselves."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Launch:
    """How to run a program. Its output goes to the file `log`, or line by line to `on_line` where there is no file."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path = Path("/")
    log: Path | None = None
    on_line: Callable[[str], None] | None = None
    account: Account | None = None
    stop_signal: Signals = SIGTERM
    wave: int = 0  # if we are killed, those of the highest end first


class Child:
    """A running program.

    It belongs to no event loop: threads of its own read its output and see its end, so that any loop, one after
    another or several at once, may wait for it.
    """

    def __init__(self, name: str, launch: Launch, reaper: Reaper) -> None:
        self.name = name
        self._launch = launch
        self._reaper = reaper
        self._exit: Future[int] = Future()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run the program. Raises `StackError` where the operating system refuses."""
        self._exit.set_running_or_notify_cancel()  # from here on, nobody who waits can cancel it
        try:
            process = self._spawn()
        except OSError as error:
            account = f" as user {self._launch.account.name}" if self._launch.account else ""
            raise StackError(f"cannot run {self._launch.argv[0]}{account}: {error.strerror}") from error
        self._process = process
        self._reaper.remember(process.pid, self._launch.stop_signal, self._launch.wave)
        if process.stdout is not None:
            threading.Thread(target=self._read_lines, args=(process,), name=f"{self.name}-log", daemon=True).start()
        threading.Thread(target=self._see_the_end, args=(process,), name=f"{self.name}-exit", daemon=True).start()

    def _spawn(self) -> subprocess.Popen[str]:
        launch = self._launch
        output = launch.log.open("ab") if launch.log else None
        try:
            return subprocess.Popen(  # noqa: S603 - programs of the wheels that we depend on, and our own roles
                self._reaper.registering(launch.argv, launch.stop_signal, launch.wave),
                env=dict(launch.env),
                cwd=launch.cwd,
                stdin=self._reaper.pipe,
                stdout=output or subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                user=launch.account.uid if launch.account else None,
                group=launch.account.gid if launch.account else None,
                extra_groups=[] if launch.account else None,
            )
        finally:
            if output is not None:
                output.close()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def returncode(self) -> int | None:
        """The exit status, `-N` after signal N, or None while it runs."""
        return self._exit.result() if self._exit.done() else None

    def signal(self, how: Signals) -> None:
        """Send a signal to the program itself; nothing happens if it has ended."""
        self._running().send_signal(how)

    def kill(self) -> None:
        """SIGKILL for the program and everything in its process group."""
        if self.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, SIGKILL)

    async def wait(self) -> int:
        """The exit status, when the program has ended."""
        return await asyncio.wrap_future(self._exit)

    async def stop(self, grace_s: float) -> int:
        """Ask the program to end; after `grace_s` seconds kill it. Returns the exit status."""
        self.signal(self._launch.stop_signal)
        try:
            return await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            self.kill()
            return await self.wait()

    def _read_lines(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                if self._launch.on_line is not None:
                    self._launch.on_line(line.rstrip("\n"))

    def _see_the_end(self, process: subprocess.Popen[str]) -> None:
        status = process.wait()
        try:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, SIGKILL)  # what it started and did not end
            self._reaper.forget(process.pid)
        finally:
            self._exit.set_result(status)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process
