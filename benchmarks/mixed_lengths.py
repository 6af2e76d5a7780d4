"""Texts of very different lengths: rows run with those nearest in length, beside first come, first served."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.figures import Rounds, Table, ratio
from benchmarks.models import Models
from benchmarks.services import services
from benchmarks.worker_runs import prefill, watch, worker
from benchmarks.workload import LONG_EVERY, LONG_WORDS, Workload, mixed_texts
from penstock.embedded.stack import EmbeddedStack

WORKLOAD: Final = Workload("minilm", "1", mixed_texts, 600)
FIFO_ROWS: Final = 32
# With a cost of 1 a row whatever its length, nothing tells rows apart, and they run in the order they come.
WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "with those nearest in length": {},
    f"first come, first served, {FIFO_ROWS} padded to their longest": {
        "cost": "rows",
        "max_batch_size": FIFO_ROWS,
        "dynamic_batching": {"max_queue_delay_microseconds": 5000, "adaptive": False},
        "model_warmup": [{"batch_size": 1}],
    },
    "one by one": {
        "cost": "rows",
        "max_batch_size": 1,
        "dynamic_batching": {"adaptive": False},
        "model_warmup": [{"batch_size": 1}],
    },
}


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    if WORKLOAD.model not in models:
        return []
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        repositories = [_write(models, Path(folder) / str(number), way) for number, way in enumerate(WAYS.values())]
        async with services() as stack:
            for round_ in range(rounds):
                for number, way in enumerate(WAYS):
                    prefix = f"mixed-{round_}-{number}"
                    rates[way].append(await _rate(stack, prefix, repositories[number], shorten))
    ours = Rounds(rates[next(iter(WAYS))])
    rows = [[way, str(Rounds(rate)), ratio(ours, Rounds(rate))] for way, rate in rates.items()]
    return [
        Table(
            f"Texts of mixed lengths through the transformer; one in {LONG_EVERY} has {LONG_WORDS} words",
            ["rows run", "texts/s", "the first over this"],
            rows,
        )
    ]


def _write(models: Models, repository: Path, way: Mapping[str, Any]) -> Path:
    """A repository with the transformer and other fields in its model.yaml."""
    original = models.repository_of(WORKLOAD.model) / WORKLOAD.model
    copy = repository / WORKLOAD.model
    shutil.copytree(original, copy)
    fields = yaml.safe_load((original / "model.yaml").read_text())
    (copy / "model.yaml").write_text(yaml.safe_dump({**fields, **way}))
    return repository


async def _rate(stack: EmbeddedStack, prefix: str, repository: Path, shorten: int) -> float:
    """Texts a second, learning included but for the first tenth."""
    workload = WORKLOAD.shortened(shorten)
    settings = await prefill(stack, prefix, workload)
    async with worker(stack, prefix, repository, f"{workload.model}/{workload.version}") as running:
        return (await watch(settings, workload.records, [running.running])).jobs_per_s
