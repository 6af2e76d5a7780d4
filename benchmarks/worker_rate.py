"""Rows a second of a worker, end to end through Kafka: beside the model alone, and beside the loop everybody writes."""

from collections.abc import Mapping

import msgspec

from benchmarks.figures import Rounds, Table, amount, ratio
from benchmarks.models import Models
from benchmarks.processes import program
from benchmarks.services import OF_WORKERS, services
from benchmarks.worker_runs import prefill, watch, worker
from benchmarks.workload import WORKLOADS, Workload
from penstock.embedded.stack import EmbeddedStack

NAIVE_WORKLOAD = "digits, linear, a row a job"
COORDINATOR_LINGER = "group.coordinator.append.linger.ms"
LINGERS_MS = (5, 0)  # the first is the default


class Run(msgspec.Struct, frozen=True):
    """One measured run. `cpu_s` is the processor time of the measured part, `stage_s` the worker's own account."""

    rows_per_s: float
    cpu_us_per_job: float
    stage_us_per_job: Mapping[str, float]


async def ours(stack: EmbeddedStack, models: Models, prefix: str, workload: Workload) -> Run:
    settings = await prefill(stack, prefix, workload)
    name = f"{workload.model}/{workload.version}"
    async with worker(stack, prefix, models.repository_of(workload.model), name) as measured:
        rate = await watch(settings, workload.records, [measured.running])
        await measured.ready()
        stage_s = {
            labels["stage"]: value
            for sample, labels, value in await measured.metrics()
            if sample == "penstock_worker_stage_seconds_sum" and labels["lane"] == "live"
        }
    stage_us = {stage: seconds / workload.records * 1e6 for stage, seconds in stage_s.items()}
    return Run(rate.jobs_per_s * workload.rows_per_record, rate.cpu_s_per_job * 1e6, stage_us)


async def naive(stack: EmbeddedStack, models: Models, prefix: str, workload: Workload) -> Run:
    settings = await prefill(stack, prefix, workload)
    arguments = [
        "-m",
        "benchmarks.naive_loop",
        stack.kafka_bootstrap_servers,
        settings.topics.lane(workload.lane),
        settings.topics.results,
        f"{prefix}.naive",
        str(models.repository_of(workload.model) / workload.model / workload.version / "model.onnx"),
    ]
    async with program(arguments) as loop:
        rate = await watch(settings, workload.records, [loop])
    return Run(rate.jobs_per_s * workload.rows_per_record, rate.cpu_s_per_job * 1e6, {})


async def alone(models: Models, name: str, workload: Workload, shorten: int) -> float:
    arguments = [
        "-m",
        "benchmarks.model_alone",
        str(models.repository_of(workload.model)),
        f"{workload.model}/{workload.version}",
        name,
        str(shorten),
    ]
    async with program(arguments) as running:
        return float(await running.output())


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    """All tables of the worker."""
    model_rows: list[list[str]] = []
    naive_rows: list[list[str]] = []
    stage_rows: list[list[str]] = []
    for linger_ms in LINGERS_MS[: max(1, len(LINGERS_MS) // shorten)]:
        async with services(OF_WORKERS, {COORDINATOR_LINGER: str(linger_ms)}, shorten=shorten) as stack:
            naive_rows.append(await _beside_naive(stack, models, linger_ms, rounds, shorten))
            if linger_ms == 0:
                continue
            for name in models.workloads():
                row, stages = await _beside_alone(stack, models, name, rounds, shorten)
                model_rows.append(row)
                stage_rows.append(stages)
    return [
        Table(
            "Worker: rows a second through Kafka, beside the model alone at the same batch size",
            ["workload", "worker, rows/s", "model alone, rows/s", "ratio"],
            model_rows,
        ),
        Table(
            "Worker: single-row jobs a second, beside the loop everybody writes (same model, same records)",
            [f"broker's {COORDINATOR_LINGER}", "worker, jobs/s", "naive loop, jobs/s", "ratio"],
            naive_rows,
        ),
        Table(
            "Worker: where a job's time goes, in microseconds a job",
            ["workload", "decode", "collate", "infer", "encode", "publish (waiting)", "processor time in all"],
            stage_rows,
        ),
    ]


async def _beside_naive(stack: EmbeddedStack, models: Models, linger_ms: int, rounds: int, shorten: int) -> list[str]:
    workload = WORKLOADS[NAIVE_WORKLOAD].shortened(shorten)
    mine: list[float] = []
    theirs: list[float] = []
    for round_ in range(rounds):
        mine.append((await ours(stack, models, f"ours-{linger_ms}-{round_}", workload)).rows_per_s)
        theirs.append((await naive(stack, models, f"naive-{linger_ms}-{round_}", workload)).rows_per_s)
    return [str(linger_ms), str(Rounds(mine)), str(Rounds(theirs)), ratio(Rounds(mine), Rounds(theirs))]


async def _beside_alone(
    stack: EmbeddedStack, models: Models, name: str, rounds: int, shorten: int
) -> tuple[list[str], list[str]]:
    workload = WORKLOADS[name].shortened(shorten)
    runs: list[Run] = []
    bare: list[float] = []
    for round_ in range(rounds):
        prefix = f"w{list(WORKLOADS).index(name)}-{round_}"
        runs.append(await ours(stack, models, prefix, workload))
        bare.append(await alone(models, name, workload, shorten))
    mine, theirs = Rounds([run.rows_per_s for run in runs]), Rounds(bare)
    stages = [
        amount(Rounds([run.stage_us_per_job[stage] for run in runs]).median)
        for stage in ("decode", "collate", "infer", "encode", "publish")
    ]
    cpu = amount(Rounds([run.cpu_us_per_job for run in runs]).median)
    return [name, str(mine), str(theirs), ratio(mine, theirs)], [name, *stages, cpu]
