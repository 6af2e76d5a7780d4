"""A million rows of a file: through Kafka, through batches over HTTP, and beside what a user would write otherwise.

Every way writes an answer a row. Each is timed as a whole, from its start to its last line, but for the start of what
serves. Memory is the most that a process had of its own: a file that it has mapped is not.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import psutil

from benchmarks.figures import Table, amount
from benchmarks.model_alone import measure as model_alone
from benchmarks.models import DIGITS, Models
from benchmarks.one_bad_row import PEERS
from benchmarks.peers.digits import BATCH_ROWS
from benchmarks.processes import stranger
from benchmarks.workload import digits
from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack
from penstock.stack import Stack

ROWS: Final = 1_000_000
CELERY_ROWS: Final = 20_000  # a task a row takes its time
MODEL: Final = "digits"
VERSION: Final = "1"
LOOK_EVERY_S: Final = 0.2


class Way(NamedTuple):
    rows: int
    seconds: float
    peaks_mb: Mapping[str, float]

    @property
    def per_s(self) -> float:
        return self.rows / self.seconds


async def measure(models: Models, _rounds: int, shorten: int) -> list[Table]:
    rows = ROWS // shorten
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(Path(folder), rows)
        alone = model_alone(str(DIGITS), f"{MODEL}/{VERSION}", "digits, linear, 64 rows a job", str(shorten))
        ways = {name: await way(data, rows) for name, way in WAYS.items() if models.wants(name)}
    lines = [
        [
            name,
            f"{way.rows:,}",
            f"{way.seconds:.1f}",
            amount(way.per_s),
            f"{way.per_s / alone:.3f}",
            ", ".join(f"{part} {peak:.0f}" for part, peak in way.peaks_mb.items()),
        ]
        for name, way in ways.items()
    ]
    title = f"{rows:,} digits, micro-batches of up to {BATCH_ROWS}; the model alone does {amount(alone)} rows/s"
    return [Table(title, ["way", "rows", "seconds", "rows/s", "of the model alone", "most memory, MB"], lines)]


def write_rows(folder: Path, rows: int) -> Path:
    images = digits(1000)["image"]
    data = np.lib.format.open_memmap(folder / "rows.npy", mode="w+", dtype=np.float32, shape=(rows, 8, 8))
    for start in range(0, rows, 1000):
        data[start : start + 1000] = images[: min(1000, rows - start)]
    data.flush()
    return folder / "rows.npy"


async def by_kafka(data: Path, rows: int) -> Way:
    """`penstock batch run`: row blocks through Kafka, results from it, a line a row in order."""
    async with Stack(None, models=DIGITS) as stack:
        command = ["batch", "run", str(data), "--model", MODEL, "--version", VERSION]
        environ = {"PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers}
        return await _penstock(command, data, rows, environ, "producer and collector")


async def by_batches(data: Path, rows: int) -> Way:
    """`penstock batch submit`: uploaded, looked through, fed by windows, downloaded."""
    lines = data.with_name("lines.jsonl")
    with lines.open("w") as out:
        for row in np.load(data, mmap_mode="r"):
            out.write(json.dumps({"instances": [row.tolist()]}) + "\n")
    async with Stack(None, models=DIGITS, feeders=1) as stack:
        command = ["batch", "submit", str(lines), "--model", MODEL, "--version", VERSION]
        return await _penstock(command, data, rows, {"PENSTOCK_GATEWAY_URL": stack.gateway_url}, "client")


async def by_ray(data: Path, rows: int) -> Way:
    with tempfile.TemporaryDirectory() as folder:
        async with watched({}) as peaks:
            output = await _output(PEERS, ["-m", "benchmarks.peers.ray_digits", str(data), folder], {})
    seconds, written = output.split()
    if int(written) != rows:
        raise RuntimeError(f"Ray wrote {written} rows")
    return Way(rows, float(seconds), {"all of Ray": sum(peaks.values())})


async def by_celery(data: Path, rows: int) -> Way:
    count = min(rows, CELERY_ROWS)
    async with EmbeddedStack(None, services=frozenset([Service.VALKEY])) as stack:
        told = {"PEER_REDIS_URL": stack.redis_url}
        serve = ["-m", "celery", "-A", "benchmarks.peers.celery_bulk", "worker", "--loglevel=CRITICAL"]
        async with stranger(PEERS, [*serve, "--concurrency=1"], told):
            seconds = await _output(PEERS, ["-m", "benchmarks.peers.celery_bulk", str(data), str(count)], told)
    return Way(count, float(seconds), {})


Measured = Callable[[Path, int], Awaitable[Way]]
WAYS: Final[Mapping[str, Measured]] = {
    "`penstock batch run`, over Kafka": by_kafka,
    "`penstock batch submit`, over HTTP": by_batches,
    "Ray Data `map_batches`, no queue": by_ray,
    "celery-batches on Redis, a task a row": by_celery,
}


async def _penstock(command: Sequence[str], data: Path, rows: int, environ: Mapping[str, str], own: str) -> Way:
    output = data.with_name("answers.jsonl")
    began_s = time.perf_counter()
    async with watched({"batch": own, "worker": "worker", "feeder": "feeder", "gateway": "gateway"}) as peaks:
        await _output(Path(sys.executable), ["-m", "penstock", *command, "--output", str(output)], environ)
    seconds = time.perf_counter() - began_s
    with output.open("rb") as lines:
        written = sum(1 for _ in lines)
    output.unlink()
    if written != rows:
        raise RuntimeError(f"{written} of {rows} rows were written")
    return Way(rows, seconds, dict(peaks))


async def _output(python: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        python, *arguments, env={**os.environ, **environ}, stdout=pipe, stderr=pipe
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode()[-2000:])
    return output.decode()


@asynccontextmanager
async def watched(parts: Mapping[str, str]) -> AsyncIterator[dict[str, float]]:
    """The most memory of each process below us, in MB: by the part whose command it is, or of all by their ids."""
    peaks: dict[str, float] = {}
    looking = asyncio.create_task(_look(parts, peaks))
    try:
        yield peaks
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _look(parts: Mapping[str, str], peaks: dict[str, float]) -> None:
    while True:
        for process in psutil.Process().children(recursive=True):
            try:
                memory = process.memory_info()
                name, used = _part_of(process, parts), (memory.rss - memory.shared) / 1e6
            except psutil.Error:
                continue
            if name is not None:
                peaks[name] = max(peaks.get(name, 0.0), used)
        await asyncio.sleep(LOOK_EVERY_S)


def _part_of(process: psutil.Process, parts: Mapping[str, str]) -> str | None:
    if not parts:
        return str(process.pid)
    words = process.cmdline()
    place = words.index("penstock") + 1 if "penstock" in words else 0
    return parts.get(words[place]) if 0 < place < len(words) else None
