"""`penstock batch run` and `resume`: rows of a file, straight over Kafka."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from penstock.finding import DATA_DIR, found_by
from penstock.help import examples
from penstock.parameters import MODEL, VERSION
from penstock.running import KAFKA, Found
from penstock.showing import JSON, show_json
from penstock.times import Duration
from producers.rows.bulk_run import check_source, lines_of_run, resume_rows, run_rows
from producers.rows.journal import Journal
from producers.rows.run import Progress
from runtime.lifecycle import run_role
from runtime.logs import configure_logs
from runtime.settings import KafkaSettings, LogSettings, load
from schemas.errors import Conflict, PenstockError

INTERRUPTED: Final = 130
TELL_EVERY_S: Final = 1.0
FILE: Final = click.Path(dir_okay=False, path_type=Path)

WINDOW: Final = click.option(
    "--window", "window_s", type=Duration(), default="10s", show_default=True, help="Work in the lane at a time."
)
TIMEOUT: Final = click.option(
    "--timeout", "timeout_s", type=Duration(), default="1d", show_default=True, help="Time for each block of rows."
)
# A run that is told its settings, and whom to tell how far it is.
Run = Callable[..., Awaitable[Progress]]


@click.command(
    epilog=examples(
        "penstock batch run rows.csv --model iris --output answers.jsonl",
        "penstock batch run images.npy --model digits --output answers.parquet",
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
    work = partial(run_rows, source, output, model=model, version=version, window_s=window_s, timeout_s=timeout_s)
    _run(found_by(data_dir, KAFKA), output, work, as_json=as_json)


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
    try:  # before anything of a stack is looked for
        check_source(Journal.resume(lines_of_run(output)).plan)
    except Conflict as error:
        raise click.ClickException(error.message) from error
    work = partial(resume_rows, output, window_s=window_s, timeout_s=timeout_s)
    _run(found_by(data_dir, KAFKA), output, work, as_json=as_json)


def _run(found: Found, output: Path, work: Run, *, as_json: bool) -> None:
    configure_logs(LogSettings(log_level="warning", log_format="console"), "batch")
    session = _Session(load(KafkaSettings, dict(found.environ)), work, as_json=as_json)
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
    """A run that ends by itself, or by a signal."""

    def __init__(self, settings: KafkaSettings, work: Run, *, as_json: bool) -> None:
        self._settings = settings
        self._work = work
        self._as_json = as_json
        self._told_s = 0.0
        self.interrupted = False
        self.failed = 0

    async def run(self, stop: asyncio.Event) -> None:
        work = asyncio.ensure_future(self._work(settings=self._settings, told=self._tell))
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
            progress = await work
        except BaseExceptionGroup as group:
            raise _first(group) from group
        self.failed = progress.failed
        self._show(progress)

    def _tell(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._show(progress)

    def _show(self, progress: Progress) -> None:
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
