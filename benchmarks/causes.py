"""Where the processor time of a waiting job goes: by role and service, and within a role by cause.

Each role runs with a thread that samples it (`benchmarks.sampled`), which takes a few percent of a core itself; that is
left out, and what it slows down is not. Figures of `latency` are those of undisturbed roles.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from benchmarks.digits_peers import body, used
from benchmarks.figures import Rounds, Table, amount
from benchmarks.gateway import environment, prepare
from benchmarks.installation import ROLES, SERVICES
from benchmarks.latency import PATH
from benchmarks.load import Target, Way
from benchmarks.models import Models
from benchmarks.processes import program, until_ready
from benchmarks.sampled import Cause
from benchmarks.services import services
from penstock.embedded.stack import EmbeddedStack

JOBS_PER_S = 500
SECONDS = 10.0
WARM_S = 5.0
FOUND_WITHIN_S = 10.0
PREFIX = "causes"
ITSELF = "the service itself"

Found = dict[tuple[str, str], list[float]]


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    found: Found = {}
    async with AsyncExitStack() as open_:
        stack = await open_.enter_async_context(services(shorten=shorten))
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        await prepare(stack, models, PREFIX)
        port = await _roles(open_, stack, models, folder)
        parts = {"Kafka": stack.kafka, "Postgres": stack.postgres, "Valkey": stack.valkey}
        target = Target(port, PATH, body(), used({name: part.pid for name, part in parts.items()}))
        await target.under(Way.WAIT, WARM_S / shorten, per_s=JOBS_PER_S)
        for _ in range(rounds):
            await _round(found, target, folder, SECONDS / shorten)
    return [_table(found)]


async def _roles(open_: AsyncExitStack, stack: EmbeddedStack, models: Models, folder: Path) -> int:
    """All of them, ready; returns the gateway's port."""
    ports = {role: models.free_port() for role in ROLES}
    started = []
    for role, port in ports.items():
        told = environment(stack, PREFIX, models) | {
            "PENSTOCK_GATEWAY_HOST": "127.0.0.1",
            "PENSTOCK_GATEWAY_PORT": str(port),
            "PENSTOCK_HEALTH_PORT": str(port),
        }
        role_program = program(["-m", "benchmarks.sampled", role, str(folder / role)], told)
        started.append((port, await open_.enter_async_context(role_program)))
    for port, running in started:
        await until_ready(f"http://127.0.0.1:{port}/readyz", running)
    return ports["gateway"]


async def _round(found: Found, target: Target, folder: Path, seconds: float) -> None:
    for role in ROLES:
        (folder / role).touch()
    outcome, service_s = await target.under(Way.WAIT, seconds, per_s=JOBS_PER_S)
    for role in ROLES:
        (folder / role).unlink()
        for cause, used_us in outcome.each_us(await _causes(folder / f"{role}.found")).items():
            found.setdefault((role, cause), []).append(used_us)
    for service, used_us in outcome.each_us(service_s).items():
        found.setdefault((service, ITSELF), []).append(used_us)


async def _causes(path: Path) -> Mapping[str, float]:
    async with asyncio.timeout(FOUND_WITHIN_S):
        while True:
            if (found := _taken(path)) is not None:
                return found
            await asyncio.sleep(0.05)


def _taken(path: Path) -> Mapping[str, float] | None:
    """What a role found, once."""
    if not path.exists():
        return None
    found = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    path.unlink()
    return found


def _table(found: Found) -> Table:
    causes = [*Cause, ITSELF]
    medians = {which: Rounds(values).median for which, values in found.items()}
    parts = (*ROLES, *SERVICES)
    return Table(
        f"Processor time of a waiting job at {JOBS_PER_S} jobs/s by part and cause, in microseconds",
        ["part", *causes, "in all"],
        [
            *([part, *_amounts(medians, [(part, cause) for cause in causes])] for part in parts),
            ["in all", *_amounts_of_all(medians, parts, causes)],
        ],
    )


def _amounts(medians: Mapping[tuple[str, str], float], cells: list[tuple[str, str]]) -> list[str]:
    each = [amount(medians[cell]) if cell in medians else "" for cell in cells]
    return [*each, amount(sum(medians.get(cell, 0.0) for cell in cells))]


def _amounts_of_all(medians: Mapping[tuple[str, str], float], parts: tuple[str, ...], causes: list[str]) -> list[str]:
    sums = [sum(medians.get((part, cause), 0.0) for part in parts) for cause in causes]
    return [amount(value) for value in (*sums, sum(sums))]
