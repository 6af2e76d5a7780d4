"""The size that the worker finds by itself, beside the best fixed size that a search over all sizes finds."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.figures import Rounds, Table, ratio
from benchmarks.models import Models
from benchmarks.services import services
from benchmarks.simulated import LANE, MODEL, TRUST, payloads, write_simulated
from benchmarks.worker_runs import publish, topics_for, watch, worker
from benchmarks.workload import lane_records
from penstock.embedded.stack import EmbeddedStack

PARTITIONS: Final = 4
CEILING: Final = 128
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS: Final = 12.0
SEARCH_SECONDS: Final = 3.0
DEVICES: Final[Mapping[str, Mapping[str, float]]] = {
    "10 ms and 0.5 ms a row": {"fixed_s": 0.01, "row_s": 0.0005},
    "10 ms and 0.5 ms a row, four times that above 24 rows": {
        "fixed_s": 0.01,
        "row_s": 0.0005,
        "cliff_rows": 24,
        "cliff_factor": 4.0,
    },
    "5 ms a row": {"fixed_s": 0.0, "row_s": 0.005},
}


def rows_per_s(device: Mapping[str, float], size: int) -> float:
    """What the device can do in micro-batches of `size`: how many jobs make a round of a few seconds."""
    busy_s = device["fixed_s"] + device["row_s"] * size
    return size / busy_s / (device.get("cliff_factor", 1.0) if size > device.get("cliff_rows", size) else 1.0)


async def measure(_models: Models, rounds: int, shorten: int) -> list[Table]:
    rows = []
    async with services() as stack:
        for number, (name, device) in enumerate(DEVICES.items()):
            seconds = SECONDS / shorten
            search_s = SEARCH_SECONDS / shorten
            searched = {
                size: await _rate(stack, f"search-{number}-{size}", device, size, search_s, adaptive=False)
                for size in SIZES
            }
            best = max(searched, key=lambda size: searched[size])
            fixed: list[float] = []
            found: list[float] = []
            for round_ in range(rounds):
                fixed.append(await _rate(stack, f"fixed-{number}-{round_}", device, best, seconds, adaptive=False))
                found.append(await _rate(stack, f"found-{number}-{round_}", device, CEILING, seconds, adaptive=True))
            rows.append([name, str(best), str(Rounds(fixed)), str(Rounds(found)), ratio(Rounds(found), Rounds(fixed))])
    return [
        Table(
            f"Size of micro-batches: found while running (at most {CEILING}), beside the best fixed size",
            ["simulated device", "best fixed size", "fixed, jobs/s", "adaptive, jobs/s", "ratio"],
            rows,
        )
    ]


async def _rate(
    stack: EmbeddedStack, prefix: str, device: Mapping[str, float], size: int, seconds: float, *, adaptive: bool
) -> float:
    """Jobs a second over some seconds, the learning included but for the first tenth."""
    fastest = max(rows_per_s(device, each) for each in SIZES) if adaptive else rows_per_s(device, size)
    jobs = int(fastest * seconds)
    settings = await topics_for(stack, prefix, [LANE], PARTITIONS)
    await publish(settings, lane_records(settings.topics.lane(LANE), LANE, payloads([1.0] * jobs)))
    with tempfile.TemporaryDirectory() as folder:
        write_simulated(Path(folder), device, size, adaptive=adaptive)
        async with worker(stack, prefix, Path(folder), MODEL, TRUST) as running:
            return (await watch(settings, jobs, [running.running])).jobs_per_s
