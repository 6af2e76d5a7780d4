"""Goodput with bad rows among the good: jobs that succeed, a second, beside the same worker without bad rows."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.figures import Rounds, Table, ratio
from benchmarks.lookup_model import lookup_payloads, write_lookup
from benchmarks.models import Models
from benchmarks.services import OF_WORKERS, services
from benchmarks.simulated import TRUST, payloads, write_simulated
from benchmarks.worker_runs import PARTITIONS, publish, topics_for, watch, worker
from benchmarks.workload import lane_records
from penstock.embedded.stack import EmbeddedStack
from schemas.jobs import Payload
from schemas.topics import Lane, LaneClass

SHARES: Final = (0.0, 0.01, 0.1)
BATCH_ROWS: Final = 64


class Subject(NamedTuple):
    """A model of which some rows can be bad. `payloads(bad)` makes a job for each of its flags."""

    model: str
    jobs: int
    write: Callable[[Path], None]
    payloads: Callable[[Sequence[bool]], list[Payload]]


def _simulated(bad: str) -> Subject:
    return Subject(
        "simulated",
        20_000,
        lambda folder: write_simulated(folder, {"fixed_s": 0.002, "row_s": 0.0001, "bad": bad}, BATCH_ROWS),
        lambda bad: payloads(-1.0 if each else 1.0 for each in bad),
    )


SUBJECTS: Final = {
    "lookup (ONNX, microseconds a run)": Subject(
        "lookup", 30_000, lambda folder: write_lookup(folder, BATCH_ROWS), lookup_payloads
    ),
    "simulated device, 2 ms and 0.1 ms a row": _simulated("fail"),
    "the same, errors in the place of bad rows": _simulated("place"),
    "the same, bad rows named before it runs": _simulated("name"),
}


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    rows = []
    async with services(OF_WORKERS, shorten=shorten) as stack:
        for number, (name, subject) in enumerate(SUBJECTS.items()):
            if not models.wants(name):
                continue
            rates: dict[float, list[float]] = {share: [] for share in SHARES}
            with tempfile.TemporaryDirectory() as folder:
                subject.write(Path(folder))
                for round_ in range(rounds):
                    for share in SHARES:
                        prefix = f"poison-{number}-{round_}-{int(share * 100)}"
                        good = await _goodput(stack, Path(folder), prefix, subject, share, shorten)
                        rates[share].append(good)
            clean, one, ten = (Rounds(each) for each in rates.values())
            rows.append([name, str(clean), str(one), ratio(one, clean), str(ten), ratio(ten, clean)])
    return [
        Table(
            f"Bad rows: good jobs a second, micro-batches of up to {BATCH_ROWS}",
            ["model", "no bad rows", "1 % bad", "ratio", "10 % bad", "ratio"],
            rows,
        )
    ]


async def _goodput(
    stack: EmbeddedStack, repository: Path, prefix: str, subject: Subject, share: float, shorten: int
) -> float:
    """Good jobs a second. Bad rows come at random, the same ones each time."""
    lane, jobs = Lane(subject.model, "1", LaneClass.LIVE), subject.jobs // shorten
    settings = await topics_for(stack, prefix, [lane], PARTITIONS)
    bad = np.random.default_rng(0).random(jobs) < share
    await publish(settings, lane_records(settings.topics.lane(lane), lane, subject.payloads(bad.tolist())))
    async with worker(stack, prefix, repository, subject.model, TRUST) as running:
        rate = await watch(settings, jobs, [running.running])
    return rate.jobs_per_s * (1 - share)
