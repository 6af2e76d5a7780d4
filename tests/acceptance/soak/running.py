"""Honest clients of one gateway, first alone and then beside others; what that costs them and the gateway."""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import psutil

from tests.acceptance import digits
from tests.acceptance.client import client_of
from tests.acceptance.processor import NOTHING, Shares, shares_from_now
from tests.acceptance.soak.hostile import AT_IT, SPINNING, Rate
from tests.waiting import eventually, until

ROOT: Final = Path(__file__).parents[3]
MB: Final = 1e6
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
LOOK_EVERY_S: Final = 0.02
LOOKS_A_FAMILY: Final = 10  # for children that have come


@dataclass
class Honest:
    """What became of requests that came at a steady rate, and of the gateway's event loop meanwhile."""

    seconds: list[float] = field(default_factory=list)
    told_to_wait: int = 0  # 503 with Retry-After
    failed: list[str] = field(default_factory=list)
    loop: Shares = NOTHING  # of the thread of the gateway's event loop
    hostile: dict[str, Rate] = field(default_factory=dict)  # what the others did meanwhile, by kind

    def ms(self, share: float) -> float:
        """Below which so large a share of the answered requests took, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@dataclass(frozen=True)
class Report:
    """`beside`: by whom the honest ones had beside them.

    `x alone` compares with honest ones alone, which have all processors; `x spinning` with those beside programs that
    only take what processors others leave: what is above 1 there, the gateway's own work for the others costs.
    """

    alone: Honest
    beside: dict[str, Honest]
    peak_bytes: int
    budget_bytes: int
    cut: dict[str, int]

    def lines(self) -> str:
        columns = ("answered", "told to wait", "failed", "p50 ms", "p99 ms", "x alone", "x spinning")
        head = " ".join(f"{each:>8}" for each in (*columns, "loop ran", "waited"))
        rows = [f"{'honest submits':>16} {head}"]
        for name, seen in {"alone": self.alone, **self.beside}.items():
            rows.append(
                f"{name:>16} {len(seen.seconds):>8} {seen.told_to_wait:>12} {len(seen.failed):>8} {seen.ms(0.5):>8.1f} "
                f"{seen.ms(0.99):>8.1f} {_times(seen, self.alone):>8} {_times(seen, self.beside.get(SPINNING)):>10} "
                f"{seen.loop.ran:>8.0%} {seen.loop.waited:>8.0%}"
            )
            rows += [
                f"{kind:>16} {rate.began:>8.1f} connections and {rate.offered_bytes / MB:.2f} MB a second"
                for kind, rate in seen.hostile.items()
            ]
        peak, budget = self.peak_bytes / MB, self.budget_bytes / MB
        rows.append(f"the gateway's memory reached {peak:.0f} MB; its budget is {budget:.0f} MB")
        rows.append("cut off: " + ", ".join(f"{reason} {count}" for reason, count in sorted(self.cut.items())))
        return "\n".join(rows)


def _times(seen: Honest, other: Honest | None) -> str:
    """How many times as long as the other's its 99th percentile is."""
    return "-" if other is None or seen is other else f"{seen.ms(0.99) / other.ms(0.99):.1f}"


@dataclass(frozen=True)
class Stage:
    """So long beside these: kinds of hostile clients, all for none, or `SPINNING`."""

    name: str
    seconds: float
    kinds: Sequence[str] = ()


async def run(url: str, *, seconds: float, per_s: float, stages: Sequence[Stage]) -> Report:
    """Send a gateway honest submits for so many seconds alone, and then in these stages."""
    port = httpx.URL(url).port
    assert port is not None
    pid = listening_on(port)
    beside: dict[str, Honest] = {}
    async with client_of(url, timeout_s=30) as client:
        with Memory(pid) as memory:
            await honest(client, pid, 1, per_s)
            alone = await honest(client, pid, seconds, per_s)
            for stage in stages:
                async with besieged(port, stage.kinds) as hostile:
                    await honest(client, pid, 1, per_s)
                    beside[stage.name] = await honest(client, pid, stage.seconds, per_s)
                beside[stage.name].hostile.update(hostile)
                await eventually(partial(_is_left_alone, client), timeout_s=60)
        metrics = (await client.get("/metrics")).text
    budget_bytes = int(figures(metrics, "penstock_memory_budget_bytes")[""])
    return Report(alone, beside, memory.peak_bytes, budget_bytes, cut_off(metrics))


async def _is_left_alone(client: httpx.AsyncClient) -> bool:
    """Whether nothing is left to do of what clients that have gone sent."""
    return not figures((await client.get("/metrics")).text, 'penstock_memory_held_bytes{use="bodies"}')[""]


async def honest(client: httpx.AsyncClient, gateway: int, seconds: float, per_s: float) -> Honest:
    """Submits at this rate, whatever the answers take."""
    seen = Honest()
    shares = shares_from_now(gateway, gateway)
    body = digits.request(digits.images(1))
    start_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * per_s)):
            due_s = start_s + number / per_s
            await until(due_s)
            tasks.create_task(_submit(client, body, due_s, seen))
    seen.loop = shares()
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
async def besieged(port: int, kinds: Sequence[str]) -> AsyncIterator[dict[str, Rate]]:
    """Hostile clients while the block lasts; what they did stands in the dictionary once it is over."""
    did: dict[str, Rate] = {}
    command = (sys.executable, "-m", "tests.acceptance.soak.hostile", str(port), *kinds)
    count = (os.cpu_count() or 1) if kinds == [SPINNING] else 1
    processes = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, start_new_session=True)
        for _ in range(count)
    ]
    listening: list[asyncio.Task[None]] = []
    try:
        for each in processes:
            assert each.stdout is not None
            assert (await each.stdout.readline()).decode().strip() == AT_IT
            listening.append(asyncio.create_task(_hear(each.stdout, did)))
        yield did
        assert all(each.returncode is None for each in processes), "the hostile clients gave up"
    finally:
        for each in processes:
            if each.returncode is None:
                each.kill()
            await each.wait()
        await asyncio.gather(*listening)


async def _hear(stdout: asyncio.StreamReader, did: dict[str, Rate]) -> None:
    """What hostile clients say last counts. Nothing is asked of them: they may not get to an answer for long."""
    async for line in stdout:
        if line.endswith(b"\n"):  # they are killed
            did.update({kind: Rate(*rates) for kind, rates in json.loads(line).items()})


def listening_on(port: int) -> int:
    """The process that does."""
    (pid,) = {
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr[1:] == (port,) and each.pid
    }
    return pid


class Memory:
    """The most that the process behind a port and its children hold at one moment, looked at every 20 ms.

    The peaks that the kernel keeps for each process are of different moments: what one gives back, another may take.
    Programs and libraries, which all of them map, are there once: they are counted with the first.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
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
            held = [_resident_bytes(each) for each in family]
            self.peak_bytes = max(self.peak_bytes, sum(own for own, _ in held) + held[0][1])


def _resident_bytes(pid: int) -> tuple[int, int]:
    """What a process has of its own, and what others may map, too."""
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text("ascii").split())
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0, 0
    return (resident - shared) * PAGE_BYTES, shared * PAGE_BYTES


def figures(metrics: str, name: str) -> dict[str, float]:
    """The samples of a metric, by their labels as they stand."""
    samples = (line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith(name))
    return {labelled.removeprefix(name): float(value) for labelled, value in samples}


def cut_off(metrics: str) -> dict[str, int]:
    found = figures(metrics, "penstock_http_connections_cut_total")
    return {labels.split('"')[1]: int(count) for labels, count in found.items()}
