"""From 1 to 8 workers, each with a device of its own that takes 50 ms for a micro-batch."""

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks.figures import Rounds, Table, amount
from benchmarks.models import Models
from benchmarks.services import OF_WORKERS, services
from benchmarks.simulated import LANE, MODEL, TRUST, payloads, write_simulated
from benchmarks.worker_runs import publish, topics_for, watch, worker
from benchmarks.workload import lane_records
from penstock.embedded.stack import EmbeddedStack

WORKERS: Final = (1, 2, 4, 8)
PARTITIONS: Final = 16
DEVICE: Final = {"fixed_s": 0.05}
BATCH_ROWS: Final = 16
SECONDS: Final = 8.0


async def measure(_models: Models, rounds: int, shorten: int) -> list[Table]:
    counts = WORKERS[: max(2, len(WORKERS) // shorten)]  # one to compare with, and one more
    rates: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as folder:
        write_simulated(Path(folder), DEVICE, BATCH_ROWS, adaptive=False)
        async with services(OF_WORKERS, shorten=shorten) as stack:
            for round_ in range(rounds):
                for count in counts:
                    rate = await _rate(stack, Path(folder), f"scaling-{round_}-{count}", count, SECONDS / shorten)
                    rates[count].append(rate)
    one = Rounds(rates[1]).median
    could = BATCH_ROWS / DEVICE["fixed_s"]
    rows = [
        [str(count), str(Rounds(each)), amount(count * could), f"{Rounds(each).median / one / count:.2f}"]
        for count, each in rates.items()
    ]
    return [
        Table(
            "Scaling: workers with a simulated device of 50 ms a micro-batch of 16 jobs",
            ["workers", "jobs/s", "what the devices could do, jobs/s", "of linear"],
            rows,
        )
    ]


async def _rate(stack: EmbeddedStack, repository: Path, prefix: str, count: int, seconds: float) -> float:
    """Jobs a second, all workers ready before the first job."""
    settings = await topics_for(stack, prefix, [LANE], PARTITIONS)
    jobs = int(count * BATCH_ROWS / DEVICE["fixed_s"] * seconds)
    async with AsyncExitStack() as open_:
        workers = [
            await open_.enter_async_context(worker(stack, prefix, repository, MODEL, TRUST, PARTITIONS))
            for _ in range(count)
        ]
        for each in workers:
            await each.ready()
        await publish(settings, lane_records(settings.topics.lane(LANE), LANE, payloads([1.0] * jobs)))
        running = [each.running for each in workers]
        return (await watch(settings, jobs, running, PARTITIONS, end_share=0.9)).jobs_per_s
