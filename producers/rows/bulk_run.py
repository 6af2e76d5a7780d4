"""A bulk run from its catalog to its output: one call, for the command and for programs."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from producers.bulk.results import ResultsReader
from producers.catalog import Catalog, catalog_topic
from producers.kafka_publisher import KafkaPublisher
from producers.rows.converting import converter_of, lines_beside
from producers.rows.fitting import fit
from producers.rows.journal import Journal, Plan, beside
from producers.rows.run import Progress, RowRun
from producers.rows.sources import Chunk, Source, chunks, rows_of, source_of, stamp_of
from runtime.clock import now_utc
from runtime.settings import KafkaSettings
from schemas.batches import BLOCK_BYTES, BLOCK_ROWS
from schemas.catalog import CatalogEntry
from schemas.errors import Conflict, QueueUnavailable
from schemas.signature import Signature
from schemas.tensors import DTYPES

CATALOG_WITHIN_S: Final = 20.0
WINDOW_S: Final = 10.0
TIMEOUT_S: Final = 86_400.0
# The source of rows that a program gave: nobody else has them.
OF_A_PROGRAM: Final = "<rows of a program>"

Told = Callable[[Progress], None]


def say_nothing(_: Progress) -> None:
    """Nobody is shown how far it is."""


async def run_rows(
    source: Path | Iterable[Any],
    output: Path,
    *,
    model: str,
    version: str | None = None,
    settings: KafkaSettings | None = None,
    window_s: float = WINDOW_S,
    timeout_s: float = TIMEOUT_S,
    told: Told = say_nothing,
) -> Progress:
    """Run each row of a source by one version, straight over Kafka, and write its answer or its error into `output`.

    `source` is a file or a folder of images, as docs/batches.md has them, or any iterable of rows: objects with a value
    a column, or one value each. `output` is `.jsonl`, `.parquet` or `.npy`, and must not be there. `settings` are those
    of the environment if not given. At most `window_s` of work is in the lane; a block of rows has `timeout_s`.

    A run over a file that was ended before its end is gone on with by `resume_rows`; rows of a program cannot be read
    again. Raises `InvalidInput` for a source that cannot be read or does not fit the model, `ModelNotFound`, `Conflict`
    for an output that is there or cannot hold the model's, `QueueUnavailable`.
    """
    rows, name, stamp = await asyncio.to_thread(_known, source)

    def begun(entry: CatalogEntry) -> Journal:
        plan = Plan(
            run_id=os.urandom(8).hex(),
            source=name,
            size=stamp[0],
            modified_ns=stamp[1],
            model=entry.model,
            version=entry.version,
            block_rows=block_rows(entry),
        )
        converter_of(output, entry.signature)  # what the output cannot hold is told before anything is run
        if isinstance(source, Path):
            _check_first(entry.signature, rows, plan.block_rows)
        if lines_of_run(output) != output and output.exists():
            raise Conflict(f"{output} is there: give another name")
        return Journal.begin(lines_of_run(output), plan)

    running = _Running(settings or KafkaSettings(), output, window_s, timeout_s, told)
    return await running.run(model, version, begun, rows)


async def resume_rows(
    output: Path,
    *,
    settings: KafkaSettings | None = None,
    window_s: float = WINDOW_S,
    timeout_s: float = TIMEOUT_S,
    told: Told = say_nothing,
) -> Progress:
    """Go on with a run over a file, whatever ended it: no row is lost, and none is there twice.

    By the same version. Raises `Conflict` where no run writes `output`, or its source has changed or cannot be read
    again; and as `run_rows`.
    """
    journal = await asyncio.to_thread(Journal.resume, lines_of_run(output))
    plan = journal.plan
    await asyncio.to_thread(check_source, plan)
    running = _Running(settings or KafkaSettings(), output, window_s, timeout_s, told)
    return await running.run(plan.model, plan.version, lambda _: journal, source_of(Path(plan.source)))


def check_source(plan: Plan) -> None:
    """Raises `Conflict` where the source is not the one that was begun with."""
    if plan.source == OF_A_PROGRAM:
        raise Conflict("a program gave the rows, and they cannot be read again: begin a new run")
    try:
        stamp = stamp_of(Path(plan.source))
    except OSError as error:
        raise Conflict(f"{plan.source} cannot be read: {error.strerror}") from error
    if stamp != (plan.size, plan.modified_ns):
        raise Conflict(f"{plan.source} has changed since the run began: begin a new one")


def block_rows(entry: CatalogEntry) -> int:
    """Full micro-batches, of about a thousand rows or half a megabyte, as far as the sizes are known."""
    row_bytes = 0
    for spec in entry.signature.inputs:
        elements = 1
        for size in spec.row_shape:
            elements *= max(size, 1)
        row_bytes += elements * DTYPES[spec.datatype].itemsize
    rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(row_bytes, 1)))
    return rows - rows % entry.max_batch_size if rows > entry.max_batch_size > 0 else rows


def lines_of_run(output: Path) -> Path:
    """Where a run writes its lines: the output itself, or a file beside it that is converted once all are there."""
    return output if output.suffix not in (".parquet", ".npy") else lines_beside(output)


def converted(output: Path, signature: Signature, rows: int) -> None:
    """Make the output of a run's lines, where it is to have another form, and remove these."""
    convert, lines = converter_of(output, signature), lines_of_run(output)
    if convert is None:
        return
    made = output.with_name(f"{output.name}.converting")
    convert(lines, made, signature, rows)
    made.replace(output)
    beside(lines).unlink()  # first: without its lines a run would be run again
    lines.unlink()


def _known(source: Path | Iterable[Any]) -> tuple[Source, str, tuple[int, int]]:
    """How it is read, what it is called, and what changes where it does."""
    if isinstance(source, Path):
        return source_of(source), str(source.absolute()), stamp_of(source)
    return rows_of(source), OF_A_PROGRAM, (0, 0)


def _check_first(signature: Signature, rows: Source, count: int) -> None:
    """Raises `InvalidInput` for what is wrong with all rows."""
    for chunk in chunks(rows, count):
        fit(signature, chunk)
        return


class _Running:
    def __init__(self, settings: KafkaSettings, output: Path, window_s: float, timeout_s: float, told: Told) -> None:
        self._settings = settings
        self._output = output
        self._window_s = window_s
        self._timeout_s = timeout_s
        self._told = told

    async def run(
        self, model: str, version: str | None, begun: Callable[[CatalogEntry], Journal], rows: Source
    ) -> Progress:
        settings = self._settings
        async with AsyncExitStack() as stack:
            catalog = await stack.enter_async_context(_read_catalog(settings))
            entry = catalog.snapshot.choose(model, version)
            publisher = await stack.enter_async_context(KafkaPublisher(settings))
            reader = await stack.enter_async_context(ResultsReader(settings))
            journal = stack.enter_context(await asyncio.to_thread(begun, entry))
            run = RowRun(
                journal,
                entry.signature,
                publisher,
                settings.topics.requests,
                now=now_utc,
                window_s=self._window_s,
                timeout_s=self._timeout_s,
                told=self._told,
            )
            found: Iterator[Chunk] = chunks(rows, journal.plan.block_rows)
            await run.run(found, reader.terminals())
        await asyncio.to_thread(converted, self._output, entry.signature, run.progress.rows)
        return run.progress


@asynccontextmanager
async def _read_catalog(settings: KafkaSettings) -> AsyncIterator[Catalog]:
    """As it is now. Raises `QueueUnavailable` where it cannot be read."""
    catalog = Catalog()
    topic = catalog_topic(settings, catalog)
    following = asyncio.create_task(topic.follow())
    try:
        async with asyncio.timeout(CATALOG_WITHIN_S):
            await topic.caught_up.wait()
    except TimeoutError as error:
        where = settings.kafka_bootstrap_servers
        raise QueueUnavailable(f"the catalog cannot be read from Kafka at {where}") from error
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    yield catalog
