"""Row blocks: rows a second of a worker, beside a row a job and the model alone; and with bad rows among them."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.figures import Rounds, Table, ratio
from benchmarks.lookup_model import bodies, write_lookup
from benchmarks.models import DIGITS, Models
from benchmarks.services import OF_WORKERS, services
from benchmarks.simulated import TRUST, write_simulated
from benchmarks.worker_rate import alone, ours
from benchmarks.worker_runs import PARTITIONS, publish, topics_for, watch, worker
from benchmarks.workload import WORKLOADS, digits, lane_records
from penstock.embedded.stack import EmbeddedStack
from schemas.blocks import encode_block
from schemas.jobs import Payload
from schemas.tensors import Array
from schemas.topics import Lane, LaneClass

BLOCK_ROWS: Final = 1000
BATCH_ROWS: Final = 64
BAD_SHARE: Final = 0.01
ENOUGH_BLOCKS: Final = 10  # the first of them is not measured


class Model(NamedTuple):
    """A version of the digits: so many blocks of them, beside the workloads of the `worker` part."""

    version: str
    blocks: int


class Subject(NamedTuple):
    """A model of which some rows can be bad: `inputs` makes a row for each flag that says so."""

    model: str
    blocks: int
    write: Callable[[Path], None]
    inputs: Callable[[Array], dict[str, Array]]


DIGITS_MODELS: Final = {
    "digits, linear": Model("1", 1000),
    "digits, convolutional": Model("2", 200),
}


def _simulated(bad: str) -> Subject:
    return Subject(
        "simulated",
        60,
        lambda folder: write_simulated(folder, {"fixed_s": 0.002, "row_s": 0.0001, "bad": bad}, BATCH_ROWS),
        lambda bad_rows: {"value": np.where(bad_rows, -1, 1).astype(np.float32)},
    )


def _lookups(bad: Array) -> dict[str, Array]:
    ids: Array = np.array(bodies(bad.tolist()), dtype=np.int64)
    return {"ids": ids}


SUBJECTS: Final = {
    "lookup (ONNX, microseconds a run)": Subject(
        "lookup", 600, lambda folder: write_lookup(folder, BATCH_ROWS), _lookups
    ),
    "simulated device, 2 ms and 0.1 ms a row": _simulated("fail"),
    "the same, errors in the place of bad rows": _simulated("place"),
    "the same, bad rows named before it runs": _simulated("name"),
}


async def measure(models: Models, rounds: int, shorten: int) -> list[Table]:
    quick, bad = [], []
    async with services(OF_WORKERS, shorten=shorten) as stack:
        for number, name in enumerate(DIGITS_MODELS):
            if models.wants(f"{name}, a row a job"):
                quick.append(await _beside_others(stack, models, name, f"blocks-{number}", rounds, shorten))
        for number, name in enumerate(SUBJECTS):
            if models.wants(name):
                bad.append(await _with_bad_rows(stack, name, f"bad-blocks-{number}", rounds, shorten))
    return [
        Table(
            f"Row blocks of {BLOCK_ROWS:,} rows: rows a second through Kafka, micro-batches of up to {BATCH_ROWS}",
            [
                *("model", "a row a job", "blocks", "ratio", "the same without `row_errors`", "blocks beside it"),
                *("model alone", "blocks beside it"),
            ],
            quick,
        ),
        Table(
            f"Row blocks with bad rows: good rows a second, micro-batches of up to {BATCH_ROWS}",
            ["model", "no bad rows", f"{BAD_SHARE:.0%} bad", "ratio"],
            bad,
        ),
    ]


async def _beside_others(
    stack: EmbeddedStack, models: Models, name: str, prefix: str, rounds: int, shorten: int
) -> list[str]:
    model = DIGITS_MODELS[name]
    lane, images = Lane("digits", model.version, LaneClass.BULK), digits(BLOCK_ROWS)
    blocks = [encode_block(images)] * max(ENOUGH_BLOCKS, model.blocks // shorten)
    row_jobs, batches = WORKLOADS[f"{name}, a row a job"].shortened(shorten), f"{name}, 64 rows a job"
    one_by_one: list[float] = []
    in_blocks: list[float] = []
    plain: list[float] = []
    bare: list[float] = []
    for round_ in range(rounds):
        own = f"{prefix}-{round_}"
        one_by_one.append((await ours(stack, models, f"{own}-rows", row_jobs)).rows_per_s)
        in_blocks.append(await _rows_per_s(stack, DIGITS, f"{own}-blocks", lane, blocks))
        plain.append(await _rows_per_s(stack, DIGITS, f"{own}-plain", lane, blocks, row_errors=False))
        bare.append(await alone(models, batches, WORKLOADS[batches].shortened(shorten), shorten))
    blocks_, rest = Rounds(in_blocks), [Rounds(each) for each in (one_by_one, plain, bare)]
    jobs, jobs_ratio, same, same_ratio, model_, model_ratio = (
        text for each in rest for text in (str(each), ratio(blocks_, each))
    )
    return [name, jobs, str(blocks_), jobs_ratio, same, same_ratio, model_, model_ratio]


async def _with_bad_rows(stack: EmbeddedStack, name: str, prefix: str, rounds: int, shorten: int) -> list[str]:
    subject = SUBJECTS[name]
    rates: dict[float, list[float]] = {0.0: [], BAD_SHARE: []}
    with tempfile.TemporaryDirectory() as folder:
        subject.write(Path(folder))
        for round_ in range(rounds):
            for share, good in rates.items():
                blocks = _blocks(subject, share, max(ENOUGH_BLOCKS, subject.blocks // shorten))
                lane, own = Lane(subject.model, "1", LaneClass.BULK), f"{prefix}-{round_}-{int(share * 100)}"
                rate = await _rows_per_s(stack, Path(folder), own, lane, blocks, TRUST)
                good.append(rate * (1 - share))
    clean, bad = (Rounds(each) for each in rates.values())
    return [name, str(clean), str(bad), ratio(bad, clean)]


def _blocks(subject: Subject, share: float, blocks: int) -> list[Payload]:
    """Bad rows come at random, the same ones each time."""
    bad = np.random.default_rng(0).random((blocks, BLOCK_ROWS)) < share
    return [encode_block(subject.inputs(each)) for each in bad]


async def _rows_per_s(
    stack: EmbeddedStack,
    repository: Path,
    prefix: str,
    lane: Lane,
    blocks: Sequence[Payload],
    more: Mapping[str, str] | None = None,
    *,
    row_errors: bool = True,
) -> float:
    settings = await topics_for(stack, prefix, [lane], PARTITIONS)
    await publish(settings, lane_records(settings.topics.lane(lane), lane, blocks, row_errors=row_errors))
    async with worker(stack, prefix, repository, f"{lane.model}/{lane.version}", more) as running:
        rate = await watch(settings, len(blocks), [running.running])
    return rate.jobs_per_s * BLOCK_ROWS
