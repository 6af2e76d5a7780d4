"""`penstock worker` as a process of its own, with its log at hand."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson

from tests.acceptance.client import client_of
from tests.waiting import eventually

Line = dict[str, Any]
# A pipe that nobody reads any more would hold the worker up.
LONGEST_LINE = 16 * 1024 * 1024


class WorkerProcess:
    """A running worker. `log` holds the lines of its log so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[Line] = []
        self.raw: list[str] = []
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.raw.append(line.decode(errors="replace"))
            if line.startswith(b"{"):
                self.log.append(orjson.loads(line))

    def said(self, event: str) -> list[Line]:
        return [line for line in self.log if line["event"] == event]

    async def get(self, path: str) -> httpx.Response:
        """What the health server answers."""
        started = await eventually(self._began, 30, "the worker has begun")
        async with client_of(f"http://{started[0]['address']}", timeout_s=5) as client:
            try:
                return await client.get(path)
            except httpx.ConnectError:
                await self.ended()
                self._check_alive()
                raise

    async def reason(self, check: str = "lanes") -> str:
        """Why it is not ready, or `ok`."""
        reason: str = (await self.get("/readyz")).json()["checks"][check]
        return reason

    async def complaint(self, check: str) -> str:
        """The same, empty for `ok`."""
        reason = await self.reason(check)
        return "" if reason == "ok" else reason

    async def ready(self, timeout_s: float = 60) -> None:
        async def is_ready() -> bool:
            self._check_alive()
            return (await self.get("/readyz")).status_code == 200

        await eventually(is_ready, timeout_s, "the worker is ready")

    def _began(self) -> list[Line]:
        self._check_alive()
        return self.said("health")

    def _check_alive(self) -> None:
        assert self.process.returncode is None, f"ended with {self.process.returncode}: {''.join(self.raw)}"

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        self.process.kill()
        await self.ended()

    async def ended(self, timeout_s: float = 30) -> int:
        """Its exit status."""
        status = await asyncio.wait_for(self.process.wait(), timeout_s)
        await self._listening
        return status


@asynccontextmanager
async def worker_process(
    environment: Mapping[str, str], program: Sequence[str] = ("-m", "penstock", "worker"), **more: str
) -> AsyncIterator[WorkerProcess]:
    """A worker with these settings; killed at the end, if it still runs."""
    variables = {f"PENSTOCK_{name.upper()}": value for name, value in {**environment, **more}.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    worker = WorkerProcess(process)
    try:
        yield worker
    finally:
        if process.returncode is None:
            await worker.kill()
        await asyncio.gather(worker._listening, return_exceptions=True)
