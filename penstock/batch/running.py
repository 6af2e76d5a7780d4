"""`penstock batch run` and `resume`: rows of a file, straight over Kafka."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import click

from penstock.finding import DATA_DIR, found_by
from penstock.help import examples
from penstock.parameters import MODEL, VERSION
from penstock.running import KAFKA, Found
from penstock.showing import JSON, show_json
from penstock.times import Duration
from producers.bulk.results import ResultsReader
from producers.catalog import Catalog, catalog_topic
from producers.kafka_publisher import KafkaPublisher
from producers.rows.converting import converter_of, lines_beside
from producers.rows.fitting import fit
from producers.rows.journal import Journal, Plan, beside
from producers.rows.run import Progress, RowRun
from producers.rows.sources import chunks, source_of, stamp_of
from runtime.clock import now_utc
from runtime.lifecycle import BackgroundTasks, run_role
from runtime.logs import configure_logs
from runtime.settings import KafkaSettings, LogSettings, load
from schemas.batches import BLOCK_BYTES, BLOCK_ROWS
from schemas.catalog import CatalogEntry
from schemas.errors import Conflict, PenstockError, QueueUnavailable
from schemas.signature import Signature
from schemas.tensors import DTYPES

INTERRUPTED: Final = 130
CATALOG_WITHIN_S: Final = 20.0
TELL_EVERY_S: Final = 1.0
DAY_S: Final = 86_400.0
FILE: Final = click.Path(dir_okay=False, path_type=Path)

WINDOW: Final = click.option(
    "--window", "window_s", type=Duration(), default="10s", show_default=True, help="Work in the lane at a time."
)
TIMEOUT: Final = click.option(
    "--timeout", "timeout_s", type=Duration(), default="1d", show_default=True, help="Time for each block of rows."
)


@click.command(
    epilog=examples(
        "penstock batch run rows.csv --model iris --output answers.jsonl",
        "penstock batch run images.npy --model digits --output answers.jsonl",
        reads=f"{KAFKA} and its companions",
    )
)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--model", type=MODEL, required=True, help="Of the rows.")
@click.option("--version", type=VERSION, help="Of the model.  [default: its default version]")
@click.option("--output", type=FILE, required=True, help="File for the answers: .jsonl, .parquet or .npy.")
@WINDOW
@TIMEOUT
@JSON
@DATA_DIR
def run(
    source: Path,
    model: str,
    version: str | None,
    output: Path,
    window_s: float,
    timeout_s: float,
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run each row of a file, straight over Kafka, and write its answer or its error.

    Rows are read from .npy, .npz, .csv, .parquet, .arrow and .jsonl, or are the images of a folder; columns go by their
    names to the model's inputs or features. Answers stand in the order of the rows. Exits with 0 if all were answered,
    with 1 if some have an error, with 130 after Ctrl-C: `resume` goes on.
    """

    def begun(entry: CatalogEntry) -> Journal:
        converter_of(output, entry.signature)  # what the output cannot hold is told before anything is run
        rows = source_of(source)
        for chunk in chunks(rows, block_rows(entry)):
            fit(entry.signature, chunk)  # what is wrong with all rows is told before anything is written
            break
        size, modified_ns = stamp_of(source)
        plan = Plan(
            run_id=os.urandom(8).hex(),
            source=str(source.absolute()),
            size=size,
            modified_ns=modified_ns,
            model=entry.model,
            version=entry.version,
            block_rows=block_rows(entry),
        )
        if lines_of_run(output) != output and output.exists():
            raise Conflict(f"{output} is there: give another name")
        return Journal.begin(lines_of_run(output), plan)

    _run(found_by(data_dir, KAFKA), model, version, begun, output, window_s, timeout_s, as_json=as_json)


@click.command(epilog=examples("penstock batch resume answers.jsonl", reads=f"{KAFKA} and its companions"))
@click.argument("output", type=FILE)
@WINDOW
@TIMEOUT
@JSON
@DATA_DIR
def resume(output: Path, window_s: float, timeout_s: float, data_dir: Path | None, *, as_json: bool) -> None:
    """Go on with a run that was interrupted, whatever ended it: no row is lost, and none is there twice.

    By the same version, over the same file: where that has changed, it refuses.
    """
    try:
        known = Journal.resume(lines_of_run(output))
        check_source(known.plan)
    except Conflict as error:
        raise click.ClickException(error.message) from error
    plan = known.plan
    _run(
        found_by(data_dir, KAFKA),
        plan.model,
        plan.version,
        lambda _: known,
        output,
        window_s,
        timeout_s,
        as_json=as_json,
    )


def check_source(plan: Plan) -> None:
    """Raises `Conflict` where the file is not the one that was begun with."""
    try:
        stamp = stamp_of(Path(plan.source))
    except OSError as error:
        raise Conflict(f"{plan.source} cannot be read: {error.strerror}") from error
    if stamp != (plan.size, plan.modified_ns):
        raise Conflict(f"{plan.source} has changed since the run began: begin a new one")


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


def _run(
    found: Found,
    model: str,
    version: str | None,
    begun: Callable[[CatalogEntry], Journal],
    output: Path,
    window_s: float,
    timeout_s: float,
    *,
    as_json: bool,
) -> None:
    configure_logs(LogSettings(log_level="warning", log_format="console"), "batch")
    settings = load(KafkaSettings, dict(found.environ))
    session = _Session(settings, model, version, begun, output, window_s, timeout_s, as_json=as_json)
    try:
        run_role(session.run)
    except PenstockError as error:
        raise click.ClickException(error.message) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror or error}") from error
    if session.interrupted:
        click.echo(f"interrupted; go on with: penstock batch resume {output}", err=True)
        raise SystemExit(INTERRUPTED)
    raise SystemExit(1 if session.failed else 0)


class _Session:
    """A run from its catalog to its last line."""

    def __init__(
        self,
        settings: KafkaSettings,
        model: str,
        version: str | None,
        begun: Callable[[CatalogEntry], Journal],
        output: Path,
        window_s: float,
        timeout_s: float,
        *,
        as_json: bool,
    ) -> None:
        self._output = output
        self._settings = settings
        self._model = model
        self._version = version
        self._begun = begun
        self._window_s = window_s
        self._timeout_s = timeout_s
        self._as_json = as_json
        self._told_s = 0.0
        self.interrupted = False
        self.failed = 0

    async def run(self, stop: asyncio.Event) -> None:
        work = asyncio.create_task(self._work(stop))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            self.interrupted = True
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            return
        try:
            await work
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _work(self, stop: asyncio.Event) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            entry = await self._entry(stop)
            publisher = await stack.enter_async_context(KafkaPublisher(settings))
            reader = await stack.enter_async_context(ResultsReader(settings))
            journal = stack.enter_context(await asyncio.to_thread(self._begun, entry))
            plan = journal.plan
            rows = RowRun(
                journal,
                entry.signature,
                publisher,
                settings.topics.requests,
                now=now_utc,
                window_s=self._window_s,
                timeout_s=self._timeout_s,
                told=self._tell,
            )
            await rows.run(chunks(source_of(Path(plan.source)), plan.block_rows), reader.terminals())
            self.failed = journal.failed
            self._tell(rows.progress, last=True)
        await asyncio.to_thread(converted, self._output, entry.signature, rows.progress.rows)

    async def _entry(self, stop: asyncio.Event) -> CatalogEntry:
        """Raises `ModelNotFound`, and `QueueUnavailable` where the catalog cannot be read."""
        catalog = Catalog()
        topic = catalog_topic(self._settings, catalog)
        async with BackgroundTasks(stop) as tasks:
            tasks.start(topic.follow(), "catalog")
            try:
                async with asyncio.timeout(CATALOG_WITHIN_S):
                    await topic.caught_up.wait()
            except TimeoutError as error:
                where = self._settings.kafka_bootstrap_servers
                raise QueueUnavailable(f"the catalog cannot be read from Kafka at {where}") from error
        return catalog.snapshot.choose(self._model, self._version)

    def _tell(self, progress: Progress, *, last: bool = False) -> None:
        now_s = time.monotonic()
        if not last and now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        rate = progress.rows_per_s
        if self._as_json:
            show_json(
                {"rows": progress.rows, "failed": progress.failed, "in_lane": progress.in_lane, "rows_per_s": rate}
            )
        else:
            speed = "" if rate is None else f", {rate:,.0f} rows/s"
            click.echo(f"{progress.rows:,} rows, {progress.failed:,} with an error{speed}", err=True)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
