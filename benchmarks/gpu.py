"""On a machine with a GPU: the worker beside the model alone, and each option of the GPU beside itself switched off.

Without CUDA nothing is measured, and a line says why.
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import onnxruntime
import yaml

from benchmarks.figures import Rounds, Table, ratio
from benchmarks.models import Models
from benchmarks.processes import program
from benchmarks.services import services
from benchmarks.worker_runs import prefill, watch, worker
from benchmarks.workload import WORKLOADS, Workload
from penstock.embedded.stack import EmbeddedStack

ONNX: Final = "onnxruntime_onnx"
TORCH: Final = "pytorch_safetensors"


class Case(NamedTuple):
    """A workload on one runtime, whose option for the GPU is `parameters.<section>.<option>`."""

    workload: str
    version: str
    platform: str

    @property
    def section(self) -> str:
        return "onnxruntime" if self.platform == ONNX else "torch"

    @property
    def option(self) -> str:
        return "io_binding" if self.platform == ONNX else "pinned_memory"


CASES: Final = (
    Case("digits, convolutional, 64 rows a job", "2", ONNX),
    Case("digits, convolutional, 64 rows a job", "2", TORCH),
    Case("transformer, a text a job", "1", ONNX),
    Case("transformer, a text a job", "2", TORCH),
)


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return _skipped("this ONNX Runtime has no CUDA: install Penstock with its extra onnx-gpu in place of onnx")
    import torch  # noqa: PLC0415 - takes seconds

    if not torch.cuda.is_available():
        return _skipped("torch finds no GPU")
    return await measure_on("cuda", models, CASES, rounds, shorten)


def _skipped(reason: str) -> list[Table]:
    sys.stdout.write(f"gpu: not measured: {reason}\n")
    return []


async def measure_on(device: str, models: Models, cases: tuple[Case, ...], rounds: int, shorten: int) -> list[Table]:
    beside_alone: list[list[str]] = []
    switched: list[list[str]] = []
    async with services() as stack:
        for number, case in enumerate(case for case in cases if case.workload in models.workloads()):
            name = f"{case.workload}, {case.platform}"
            bench = _Bench(stack, models, device, case, shorten, f"gpu{number}")
            ours, alone, without = await _compare(bench, case, rounds)
            beside_alone.append([name, str(ours), str(alone), ratio(ours, alone)])
            switched += [[name, what, str(on), str(off), ratio(on, off)] for what, on, off in without]
    return [
        Table(
            f"On {device}: rows a second through Kafka, beside the model alone at the largest batch size",
            ["workload, platform", "worker, rows/s", "model alone, rows/s", "ratio"],
            beside_alone,
        ),
        Table(
            f"On {device}: rows a second with an option, and without it",
            ["workload, platform", "option", "with", "without", "ratio"],
            switched,
        ),
    ]


async def _compare(bench: "_Bench", case: Case, rounds: int) -> tuple[Rounds, Rounds, list[tuple[str, Rounds, Rounds]]]:
    """The worker, the model alone, and by option one of the two with it and without it; each round has all of them."""
    unbound = {"parameters": {case.section: {case.option: False}}}
    fixed = {"dynamic_batching": {"adaptive": False}}
    through: list[tuple[float, float, float]] = []
    alone: list[tuple[float, float]] = []
    for _ in range(rounds):
        through.append(
            (await bench.through_kafka({}), await bench.through_kafka(unbound), await bench.through_kafka(fixed))
        )
        alone.append((await bench.alone({}), await bench.alone(unbound)))
    worker_on, worker_off, worker_fixed = (Rounds(list(values)) for values in zip(*through, strict=True))
    alone_on, alone_off = (Rounds(list(values)) for values in zip(*alone, strict=True))
    without = [
        (f"{case.option}, model alone", alone_on, alone_off),
        (f"{case.option}, worker", worker_on, worker_off),
        ("adaptive size, worker", worker_on, worker_fixed),
    ]
    return worker_on, alone_on, without


class _Bench:
    """Runs one case, with some fields of its model.yaml changed, again and again on fresh topics."""

    def __init__(
        self, stack: EmbeddedStack, models: Models, device: str, case: Case, shorten: int, prefix: str
    ) -> None:
        self._stack = stack
        self._models = models
        self._device = device
        self._case = case
        self._shorten = shorten
        self._prefix = prefix
        self._runs = 0

    @property
    def _workload(self) -> Workload:
        named = WORKLOADS[self._case.workload].shortened(self._shorten)
        return msgspec.structs.replace(named, version=self._case.version)

    async def through_kafka(self, changes: Mapping[str, Any]) -> float:
        self._runs += 1
        prefix, workload = f"{self._prefix}-{self._runs}", self._workload
        settings = await prefill(self._stack, prefix, workload)
        with tempfile.TemporaryDirectory() as folder:
            name = self._write(Path(folder), changes)
            more = {"PENSTOCK_WORKER_DEVICE": self._device}
            async with worker(self._stack, prefix, Path(folder), name, more) as running:
                rate = await watch(settings, workload.records, [running.running])
        return rate.jobs_per_s * workload.rows_per_record

    async def alone(self, changes: Mapping[str, Any]) -> float:
        with tempfile.TemporaryDirectory() as folder:
            name = self._write(Path(folder), changes)
            arguments = [folder, name, self._case.workload, str(self._shorten), self._device]
            async with program(["-m", "benchmarks.model_alone", *arguments]) as running:
                return float(await running.output())

    def _write(self, repository: Path, changes: Mapping[str, Any]) -> str:
        """The case's model with the changes, sections merged; gives `<model>/<version>`."""
        workload, case = self._workload, self._case
        source = self._models.repository_of(workload.model) / workload.model
        shutil.copytree(source, repository / workload.model)
        path = repository / workload.model / "model.yaml"
        fields = yaml.safe_load(path.read_text())
        own = {**fields, **fields["versions"][case.version], "platform": case.platform, "versions": {}}
        own.pop("default_version", None)
        path.write_text(yaml.safe_dump(merged(own, changes)))
        return f"{workload.model}/{case.version}"


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with the changes laid over them, section by section."""
    together = dict(fields)
    for key, value in changes.items():
        before = together.get(key)
        together[key] = merged(before or {}, value) if isinstance(value, Mapping) else value
    return together
