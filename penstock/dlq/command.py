"""The options of `penstock dlq`."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, Final, TypeVar

import click

from penstock.dlq import rendering, work
from penstock.dlq.letter import Letter, Place, parse_place
from penstock.dlq.selection import Selection, parse_moment
from runtime.clock import now_utc
from runtime.logs import configure_logs
from runtime.settings import KafkaSettings, LogSettings, load
from schemas.errors import PenstockError, RequestError

CONFIRM_ABOVE: Final = 10
LISTED: Final = 100

T = TypeVar("T")
Command = Callable[..., Any]


class Id(click.ParamType):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        try:
            return value if isinstance(value, Place) else parse_place(value)
        except RequestError as error:
            self.fail(error.message, param, ctx)


class Moment(click.ParamType):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return value if isinstance(value, datetime) else parse_moment(value, now_utc())
        except RequestError as error:
            self.fail(error.message, param, ctx)


FILTERS: Final = (
    click.option("--topic", help="Of the letter or of where it comes from; * stands for any text."),
    click.option("--model", help="Of the job."),
    click.option("--version", help="Of the model."),
    click.option("--error", help="Some text of the error's message or code, in upper or lower case."),
    click.option("--job", "job_id", help="The job's id."),
    click.option("--since", type=Moment(), help="Buried then or later: 30m, 2h, 7d (ago) or 2030-01-31T12:00:00Z."),
    click.option("--until", type=Moment(), help="Buried before."),
    click.option("--limit", type=click.IntRange(min=1), help="The oldest so many only."),
    click.option("--all", "handled", is_flag=True, help="Also those that were replayed or dropped."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
)
YES: Final = click.option(
    "--yes", is_flag=True, help=f"Do not ask, whatever their number (asked above {CONFIRM_ABOVE})."
)


def filtered(command: Command) -> Command:
    return reduce(lambda inner, option: option(inner), reversed(FILTERS), command)


@click.group()
def dlq() -> None:
    """Look through dead letters, replay them, drop them.

    A dead letter is a record that was no message, or a job that was given up although nothing may be wrong with it.
    Nothing is ever deleted: what was replayed or dropped is marked, and hidden without --all. Kafka is found by the
    PENSTOCK_KAFKA_* variables.
    """


@dlq.command("list")
@filtered
def list_letters(limit: int | None, *, as_json: bool, **filters: Any) -> None:
    """List dead letters, oldest first."""
    settings = _settings()
    found = _run(work.find(settings, Selection(**filters), limit or LISTED))
    if as_json:
        for letter in found.letters:
            click.echo(json.dumps(rendering.as_object(letter, found.marks.get(letter.place))))
    elif found.letters:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        for line in rendering.table(found.letters, found.marks, width):
            click.echo(line)
    if found.more:
        click.echo(f"{found.more} more: narrow the filter, or raise --limit", err=True)
    elif not found.letters:
        click.echo("no dead letters", err=True)


@dlq.command()
@click.argument("ids", nargs=-1, required=True, type=Id())
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; key and payload in base64.")
def show(ids: Sequence[Place], *, as_json: bool) -> None:
    """Show all that dead letters hold: headers and payload."""
    settings = _settings()
    found = _run(work.find(settings, Selection(places=frozenset(ids)), None))

    async def tell() -> None:
        async for letter in work.with_values(settings, found.letters):
            mark = found.marks.get(letter.place)
            if as_json:
                click.echo(json.dumps(rendering.as_whole_object(letter, mark)))
            else:
                click.echo("\n".join(rendering.whole(letter, mark)))

    _run(tell())


@dlq.command()
@click.argument("ids", nargs=-1, type=Id())
@filtered
@YES
def replay(ids: Sequence[Place], limit: int | None, *, as_json: bool, yes: bool, **filters: Any) -> None:
    """Replay dead letters: those with these ids, or those that all filters fit.

    What was no message goes back to its topic as it was. A job has ended, so it is submitted as a new one, with as much
    time as it had; the old id and the new one are printed.
    """
    _see_to(work.replay, Selection(places=frozenset(ids), **filters), limit, as_json=as_json, yes=yes)


@dlq.command()
@click.argument("ids", nargs=-1, type=Id())
@filtered
@YES
def drop(ids: Sequence[Place], limit: int | None, *, as_json: bool, yes: bool, **filters: Any) -> None:
    """Drop dead letters: those with these ids, or those that all filters fit.

    They are marked, and no longer listed without --all. Kafka deletes them when their retention ends.
    """
    _see_to(work.drop, Selection(places=frozenset(ids), **filters), limit, as_json=as_json, yes=yes)


def _see_to(
    do: Callable[..., AsyncIterator[work.Seen]], selection: Selection, limit: int | None, *, as_json: bool, yes: bool
) -> None:
    settings = _settings()
    letters = _run(work.find(settings, selection, limit)).letters
    if not letters:
        raise click.ClickException("no dead letter is meant by that")
    if len(letters) > CONFIRM_ABOVE and not yes:
        click.confirm(f"{do.__name__} {len(letters)} dead letters?", abort=True, err=True)
    failed = _run(_tell(do(settings, letters, now_utc), as_json=as_json))
    if failed:
        raise click.ClickException(f"{failed} of {len(letters)} dead letters are as they were")


async def _tell(seen: AsyncIterator[work.Seen], *, as_json: bool) -> int:
    """Print what became of each letter. Returns how many nothing could be done with."""
    failed = 0
    async for letter, outcome in seen:
        if isinstance(outcome, PenstockError):
            failed += 1
            click.echo(f"{letter.place}: {outcome.message}", err=True)
        elif as_json:
            click.echo(json.dumps(rendering.as_object(letter, outcome)))
        elif outcome.job_id is not None:
            click.echo(f"{letter.place}: {letter.job_id} -> {outcome.job_id}")
        else:
            click.echo(f"{letter.place}: {outcome.state}{_whereto(letter, outcome.state)}")
    return failed


def _whereto(letter: Letter, state: str) -> str:
    return f" to {letter.origin.topic}" if state == "replayed" and letter.origin else ""


def _settings() -> KafkaSettings:
    settings = load(KafkaSettings)
    configure_logs(LogSettings(log_level="warning", log_format="console"), "dlq")
    return settings


def _run(work_: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work_)
    except PenstockError as error:
        raise click.ClickException(error.message) from error
