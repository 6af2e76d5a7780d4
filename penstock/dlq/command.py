"""The options of `penstock dlq`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import wraps
from typing import Any, Final

import click

from penstock.dlq import rendering, work
from penstock.dlq.letter import Letter, Place, parse_place
from penstock.dlq.selection import Selection
from penstock.finding import finds, refused
from penstock.help import examples
from penstock.parameters import CONFIRM_ABOVE, Command, confirm, with_options
from penstock.plain import printable
from penstock.running import KAFKA, Found
from penstock.showing import JSON, show_json, show_table
from penstock.times import Moment
from runtime.clock import now_utc
from runtime.logs import configure_logs
from runtime.settings import KafkaSettings, LogSettings, load
from schemas.errors import PenstockError, QueueUnavailable, RequestError

LISTED: Final = 100


class Id(click.ParamType):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        try:
            return value if isinstance(value, Place) else parse_place(value)
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
    JSON,
)
YES: Final = click.option(
    "--yes", is_flag=True, help=f"Do not ask, whatever their number (asked above {CONFIRM_ABOVE})."
)


def filtered(command: Command) -> Command:
    return with_options(command, FILTERS)


def reaches_kafka(command: Command) -> Command:
    """A command that gets, as `settings`, those by which Kafka is reached."""

    @finds(KAFKA)
    @wraps(command)
    def reaching(*args: Any, found: Found, **options: Any) -> Any:
        settings = load(KafkaSettings, found.environ)
        configure_logs(LogSettings(log_level="warning", log_format="console"), "dlq")
        try:
            return command(*args, settings=settings, **options)
        except PenstockError as error:
            raise refused(error, found.origin if isinstance(error, QueueUnavailable) else "") from error

    return reaching


READS: Final = f"{KAFKA} and its companions, PENSTOCK_TOPIC_PREFIX"


@click.group(
    epilog=examples(
        "penstock dlq list --since 2h",
        "penstock dlq replay --topic '*.lane.digits.*' --since 2h --yes",
        reads=READS,
    )
)
def dlq() -> None:
    """Look through dead letters, replay them, drop them.

    A dead letter is a record that was no message, or a job that was given up although nothing may be wrong with it.
    Nothing is ever deleted: what was replayed or dropped is marked, and hidden without --all.
    """


@dlq.command("list", epilog=examples("penstock dlq list --model digits --error 'feature store' --json", reads=READS))
@filtered
@reaches_kafka
def list_letters(settings: KafkaSettings, limit: int | None, *, as_json: bool, **filters: Any) -> None:
    """List dead letters, oldest first."""
    found = asyncio.run(work.find(settings, Selection(**filters), limit or LISTED))
    if as_json:
        for letter in found.letters:
            show_json(rendering.as_object(letter, found.marks.get(letter.place)))
    elif found.letters:
        rows = [rendering.row(letter, found.marks.get(letter.place)) for letter in found.letters]
        show_table(rendering.TITLES, rows, right=["DELIVERIES"])
    if found.more:
        click.echo(f"{found.more} more: narrow the filter, or raise --limit", err=True)
    elif not found.letters:
        click.echo("no dead letters", err=True)


@dlq.command(epilog=examples("penstock dlq show dlq.penstock.requests.v1:0:12", reads=READS))
@click.argument("ids", nargs=-1, required=True, type=Id())
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; key and payload in base64.")
@reaches_kafka
def show(settings: KafkaSettings, ids: Sequence[Place], *, as_json: bool) -> None:
    """Show all that dead letters hold: headers and payload."""
    found = asyncio.run(work.find(settings, Selection(places=frozenset(ids)), None))

    async def tell() -> None:
        async for letter in work.with_values(settings, found.letters):
            mark = found.marks.get(letter.place)
            if as_json:
                show_json(rendering.as_whole_object(letter, mark))
            else:
                click.echo("\n".join(rendering.whole(letter, mark)))

    asyncio.run(tell())


@dlq.command(epilog=examples("penstock dlq replay --model digits --since 2h --yes", reads=READS))
@click.argument("ids", nargs=-1, type=Id())
@filtered
@YES
@reaches_kafka
def replay(
    settings: KafkaSettings, ids: Sequence[Place], limit: int | None, *, as_json: bool, yes: bool, **filters: Any
) -> None:
    """Replay dead letters: those with these ids, or those that all filters fit.

    What was no message goes back to its topic as it was. A job has ended, so it is submitted as a new one, with as much
    time as it had; the old id and the new one are printed.
    """
    _see_to(settings, work.replay, Selection(places=frozenset(ids), **filters), limit, as_json=as_json, yes=yes)


@dlq.command(epilog=examples("penstock dlq drop dlq.penstock.requests.v1:0:12", reads=READS))
@click.argument("ids", nargs=-1, type=Id())
@filtered
@YES
@reaches_kafka
def drop(
    settings: KafkaSettings, ids: Sequence[Place], limit: int | None, *, as_json: bool, yes: bool, **filters: Any
) -> None:
    """Drop dead letters: those with these ids, or those that all filters fit.

    They are marked, and no longer listed without --all. Kafka deletes them when their retention ends.
    """
    _see_to(settings, work.drop, Selection(places=frozenset(ids), **filters), limit, as_json=as_json, yes=yes)


def _see_to(
    settings: KafkaSettings,
    do: Callable[..., AsyncIterator[work.Seen]],
    selection: Selection,
    limit: int | None,
    *,
    as_json: bool,
    yes: bool,
) -> None:
    letters = asyncio.run(work.find(settings, selection, limit)).letters
    if not letters:
        raise click.ClickException("no dead letter is meant by that")
    confirm(f"{do.__name__} {len(letters)} dead letters?", len(letters), yes=yes)
    failed = asyncio.run(_tell(do(settings, letters, now_utc), as_json=as_json))
    if failed:
        raise click.ClickException(f"{failed} of {len(letters)} dead letters are as they were")


async def _tell(seen: AsyncIterator[work.Seen], *, as_json: bool) -> int:
    """Print what became of each letter. Returns how many nothing could be done with."""
    failed = 0
    async for letter, outcome in seen:
        if isinstance(outcome, PenstockError):
            failed += 1
            click.echo(f"{letter.place}: {printable(outcome.message)}", err=True)
        elif as_json:
            show_json(rendering.as_object(letter, outcome))
        elif outcome.job_id is not None:
            click.echo(f"{letter.place}: {letter.job_id} -> {outcome.job_id}")
        else:
            click.echo(f"{letter.place}: {outcome.state}{_whereto(letter, outcome.state)}")
    return failed


def _whereto(letter: Letter, state: str) -> str:
    return f" to {letter.origin.topic}" if state == "replayed" and letter.origin else ""
