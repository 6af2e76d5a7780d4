"""Starting the programs that are measured, each as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.http import get

START_TIMEOUT_S = 60.0
POLL_S = 0.05


class Program:
    """A running child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def cpu_s(self) -> float:
        """Seconds of processor time so far, user and system."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> int:
        """Its exit status, when it has ended."""
        await self._process.communicate()
        return self._process.returncode or 0

    async def output(self) -> bytes:
        """What it printed, when it has ended."""
        output, _ = await self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the program ended with {self._process.returncode}")
        return output


@asynccontextmanager
async def program(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    """Run `python <arguments>` while the block lasts. Its errors go to ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **(environment or {})}, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


@asynccontextmanager
async def stranger(
    python: Path | str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run a program that is not ours, silent, while the block lasts; then it is killed with all that it started."""
    process = await asyncio.create_subprocess_exec(
        python,
        *arguments,
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Program(process)
    finally:
        _kill_family(process.pid)
        await process.wait()


def _kill_family(pid: int) -> None:
    """Kill the process and its descendants: some give their workers groups of their own."""
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


async def until_ready(url: str, running: Program) -> None:
    """Return when the URL answers 200."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if not running.running:
                raise RuntimeError(f"the program behind {url} ended while it started")
            try:
                if (await get(url)).status == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(POLL_S)


async def until_listening(port: int, running: Program) -> None:
    """Return when something accepts connections on the port."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if not running.running:
                raise RuntimeError(f"the program of port {port} ended while it started")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(POLL_S)
            else:
                writer.close()
                return
