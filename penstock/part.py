"""A part of the stack: a service or a role, which can be started, stopped, killed and started again."""

import asyncio
import time
from collections.abc import Callable
from signal import SIGTERM
from typing import Protocol

from penstock.child import Child, Launch
from penstock.errors import StackError, in_a_line
from penstock.reaper import Reaper

POLL_INTERVAL_S = 0.01


class Program(Protocol):
    """What a part runs."""

    name: str  # as people call it
    start_timeout_s: float
    stop_grace_s: float

    async def prepare(self) -> Launch:
        """Do what must be done before a start, and say how to start. Raises whatever stands in the way."""

    async def ready(self) -> bool:
        """Whether it answers. Raises what no waiting can mend."""

    def explain(self) -> str:
        """After it failed to start: its last words. Empty if there are none."""

    def ended(self) -> None:
        """It was stopped, and is gone. Raises nothing."""


class Part:
    """Keeps at most one child process of a program."""

    def __init__(self, program: Program, reaper: Reaper, clock: Callable[[], float] = time.monotonic) -> None:
        self.program = program
        self._reaper = reaper
        self._clock = clock
        self._child: Child | None = None
        self._changing = asyncio.Lock()  # starting and stopping, by us and by whoever watches
        self._wanted = asyncio.Event()

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    @property
    def wanted(self) -> bool:
        """Whether it was started and not stopped since: if it does not run, it has failed."""
        return self._wanted.is_set()

    @property
    def pid(self) -> int:
        return self._started().pid

    async def start(self) -> None:
        """Start it and return when it answers. Raises `StackError` if it ends before, or takes too long."""
        async with self._changing:
            if not self.running:
                await self._start()
            self._wanted.set()  # not before: whoever watches would take the end of the one before for a failure

    async def start_again(self) -> None:
        """`start`, unless somebody stopped it meanwhile."""
        async with self._changing:
            if self.wanted and not self.running:
                await self._start()

    async def _start(self) -> None:
        """Raises `StackError`, and nothing else: what the machine refuses (a full disk, a driver) is a reason too."""
        try:
            await self._run(await self.program.prepare())
        except StackError:
            raise
        except Exception as error:
            raise StackError(f"{self.name} cannot be started: {in_a_line(error)}") from error

    async def _run(self, launch: Launch) -> None:
        child = Child(self.name, launch, self._reaper)
        child.start()
        self._child = child
        try:
            await self._answer(child)
        except BaseException:
            child.kill()
            await child.wait()
            raise

    async def _answer(self, child: Child) -> None:
        deadline = self._clock() + self.program.start_timeout_s
        while not await self.program.ready():
            if child.returncode is not None:
                raise StackError(self._failure("ended while it started"))
            if self._clock() > deadline:
                raise StackError(self._failure(f"did not answer within {self.program.start_timeout_s:.0f} s"))
            await asyncio.sleep(POLL_INTERVAL_S)

    def _failure(self, what: str) -> str:
        words = self.program.explain()
        return f"{self.name} {what}: {words}" if words else f"{self.name} {what}"

    async def wait(self) -> int:
        """The exit status of the process that runs now, when it has ended."""
        return await self._started().wait()

    async def wait_until_wanted(self) -> None:
        await self._wanted.wait()

    async def stop(self) -> None:
        """Ask it to end, and kill it if it takes longer than it may. It stays down until it is started again."""
        async with self._changing:
            self._wanted.clear()
            if self.running:
                await self._started().stop(self.program.stop_grace_s)
                self.program.ended()

    def terminate(self) -> None:
        """Send SIGTERM, as anybody may, and return at once."""
        self._started().signal(SIGTERM)

    def kill(self) -> None:
        """SIGKILL, at once."""
        self._started().kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def _started(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child
