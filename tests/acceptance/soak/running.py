"""Honest clients of one gateway, first alone and then beside hostile ones; what that costs them and the gateway."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil

from tests.acceptance import digits
from tests.acceptance.client import client_of
from tests.waiting import until

ROOT: Final = Path(__file__).parents[3]
MB: Final = 1e6
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
LOOK_EVERY_S: Final = 0.02
LOOKS_A_FAMILY: Final = 10  # for children that have come


@dataclass
class Honest:
    """What became of requests that came at a steady rate."""

    seconds: list[float] = field(default_factory=list)
    told_to_wait: int = 0  # 503 with Retry-After
    failed: list[str] = field(default_factory=list)

    def ms(self, share: float) -> float:
        """Below which so large a share of the answered requests took, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@dataclass(frozen=True)
class Report:
    alone: Honest
    beside: Honest
    peak_bytes: int
    budget_bytes: int
    cut: dict[str, int]

    def lines(self) -> str:
        rows = [
            f"{'honest submits':>16} {'answered':>9} {'told to wait':>13} {'failed':>7} {'p50 ms':>8} {'p99 ms':>8}"
        ]
        for name, honest in (("alone", self.alone), ("beside hostile", self.beside)):
            rows.append(
                f"{name:>16} {len(honest.seconds):>9} {honest.told_to_wait:>13} {len(honest.failed):>7} "
                f"{honest.ms(0.5):>8.1f} {honest.ms(0.99):>8.1f}"
            )
        rows.append(f"p99 beside them is {self.beside.ms(0.99) / self.alone.ms(0.99):.1f} times that without them")
        peak, budget = self.peak_bytes / MB, self.budget_bytes / MB
        rows.append(f"the gateway's memory reached {peak:.0f} MB; its budget is {budget:.0f} MB")
        rows.append("cut off: " + ", ".join(f"{reason} {count}" for reason, count in sorted(self.cut.items())))
        return "\n".join(rows)


async def run(url: str, *, seconds: float, per_s: float, kinds: Sequence[str] = ()) -> Report:
    """Besiege the gateway at `url` for so many seconds, with all kinds of hostile clients or those of these names."""
    port = httpx.URL(url).port
    assert port is not None
    with Memory(port) as memory:
        alone, beside, metrics = await _besieged_run(url, port, seconds, per_s, kinds)
    budget_bytes = int(figures(metrics, "penstock_memory_budget_bytes")[""])
    return Report(alone, beside, memory.peak_bytes, budget_bytes, cut_off(metrics))


async def _besieged_run(
    url: str, port: int, seconds: float, per_s: float, kinds: Sequence[str]
) -> tuple[Honest, Honest, str]:
    async with client_of(url, timeout_s=30) as client:
        await honest(client, 1, per_s)
        alone = await honest(client, seconds / 2, per_s)
        async with besieged(port, kinds):
            await honest(client, 1, per_s)
            beside = await honest(client, seconds, per_s)
        return alone, beside, (await client.get("/metrics")).text


async def honest(client: httpx.AsyncClient, seconds: float, per_s: float) -> Honest:
    """Submits at this rate, whatever the answers take."""
    seen = Honest()
    body = digits.request(digits.images(1))
    start_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * per_s)):
            due_s = start_s + number / per_s
            await until(due_s)
            tasks.create_task(_submit(client, body, due_s, seen))
    return seen


async def _submit(client: httpx.AsyncClient, body: object, due_s: float, seen: Honest) -> None:
    try:
        answer = await client.post("/v1/models/digits/jobs", json=body)
    except httpx.HTTPError as error:
        seen.failed.append(repr(error))
        return
    if answer.status_code == 202:
        seen.seconds.append(time.monotonic() - due_s)
    elif answer.status_code == 503 and "retry-after" in answer.headers:
        seen.told_to_wait += 1
    else:
        seen.failed.append(f"{answer.status_code} {answer.text}")


@asynccontextmanager
async def besieged(port: int, kinds: Sequence[str]) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.soak.hostile", str(port), *kinds), cwd=ROOT
    )
    try:
        yield
        assert process.returncode is None, "the hostile clients gave up"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Memory:
    """The most that the process behind a port and its children hold at one moment, looked at every 20 ms.

    The peaks that the kernel keeps for each process are of different moments: what one gives back, another may take.
    """

    def __init__(self, port: int) -> None:
        (self._pid,) = {
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr[1:] == (port,) and each.pid
        }
        self.peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        looks = 0
        family: list[int] = []
        while not self._over.wait(LOOK_EVERY_S):
            if looks % LOOKS_A_FAMILY == 0:
                family = [self._pid, *(child.pid for child in psutil.Process(self._pid).children(recursive=True))]
            looks += 1
            self.peak_bytes = max(self.peak_bytes, sum(_resident_bytes(each) for each in family))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0


def figures(metrics: str, name: str) -> dict[str, float]:
    """The samples of a metric, by their labels as they stand."""
    samples = (line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith(name))
    return {labelled.removeprefix(name): float(value) for labelled, value in samples}


def cut_off(metrics: str) -> dict[str, int]:
    found = figures(metrics, "penstock_http_connections_cut_total")
    return {labels.split('"')[1]: int(count) for labels, count in found.items()}
