"""`penstock up --ephemeral` of any checkout, as its users start it, and the processor time of its parts.

Nothing but that command, HTTP, and what the operating system says about its processes is used, so that an older
checkout can be measured beside this one.
"""

import asyncio
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGINT

import psutil

from benchmarks.http import get
from benchmarks.models import Models
from benchmarks.sharing import shared
from benchmarks.workload import ROOT

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 40.0
POLL_S = 0.05

ROLES = ("gateway", "router", "worker", "sink")
SERVICES = ("Kafka", "Postgres", "Valkey")
UP = "up"  # the command itself, which watches the others
PARTS = (*ROLES, *SERVICES, UP)
_PROGRAMS = {"java": "Kafka", "postgres": "Postgres", "valkey": "Valkey"}


class Installation:
    """A running stack. `port` is the API's."""

    def __init__(self, pid: int, port: int) -> None:
        self._up = psutil.Process(pid)
        self.port = port

    @property
    def postgres_dsn(self) -> str:
        """As its roles were told."""
        told = (child.environ() for child in self._up.children() if _part(child) == "gateway")
        return next(told)["PENSTOCK_POSTGRES_DSN"]

    def cpu_s(self) -> Mapping[str, float]:
        """Seconds of processor time so far of each part, with all that it started."""
        used = defaultdict(float, {UP: _own_cpu_s(self._up)})
        for child in self._up.children():
            used[_part(child)] += sum(map(with_ended_cpu_s, family(child)))
        return used


def _part(process: psutil.Process) -> str:
    """The role or service that it is; what it is not known for belongs to `up`."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return UP
    if words[-1:] and words[-1] in ROLES:
        return words[-1]
    program = Path(words[0]).name if words else ""
    return next((part for begins, part in _PROGRAMS.items() if program.startswith(begins)), UP)


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _own_cpu_s(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def with_ended_cpu_s(process: psutil.Process) -> float:
    """With that of its children that have ended, which a database's connections are."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


@asynccontextmanager
async def installation(
    checkout: Path = ROOT, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Installation]:
    """A fresh stack that answers, of the checkout with its own `.venv`."""
    key = (checkout, arguments, tuple(sorted((environment or {}).items())))
    async with shared(key, partial(_opened, checkout, arguments, environment or {})) as stack:
        yield stack


@asynccontextmanager
async def _opened(
    checkout: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> AsyncIterator[Installation]:
    port = Models.free_port()
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # An installation has its bytecode compiled.
    environ |= {"PYTHONDONTWRITEBYTECODE": "", **environment}
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            checkout / ".venv" / "bin" / "penstock",
            *("up", "--ephemeral", "--port", str(port), *arguments),
            cwd=checkout,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            try:
                await _until_ready(process, port)
            except (RuntimeError, TimeoutError) as error:
                log.seek(0)
                raise RuntimeError(f"{checkout}: {error}: {log.read()[-2000:].decode(errors='replace')}") from error
            yield Installation(process.pid, port)
        finally:
            await _stop(process)


async def _until_ready(process: asyncio.subprocess.Process, port: int) -> None:
    """Return when the API knows the example model."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"it ended with {process.returncode}")
            with suppress(OSError, EOFError):
                answer = await get(f"http://127.0.0.1:{port}/v1/models/digits")
                ready = await get(f"http://127.0.0.1:{port}/readyz")
                if answer.status == ready.status == 200:
                    return
            await asyncio.sleep(POLL_S)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(SIGINT)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()  # what it started ends with it
            await process.wait()
