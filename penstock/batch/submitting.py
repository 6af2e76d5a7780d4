"""`penstock batch submit`: a file goes up, and is run."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

import click

from penstock.asking import ask, document, patience, read, send
from penstock.batch.documents import ENDED, Batch, File, all_completed
from penstock.batch.downloading import FILE, download
from penstock.batch.lines import asked_url, is_endpoint, numbered, url_of, wrapped
from penstock.batch.reading import show_batch
from penstock.documents import Document
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import MODEL, VERSION, Command, with_options
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON
from penstock.times import MomentAhead
from schemas.batches import completion_window
from schemas.errors import RequestError
from schemas.promises import daily_hours

# Waiting: at first often, since many batches are small.
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0


class Window(click.ParamType):
    name = "window"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            completion_window(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Daily(click.ParamType):
    name = "hours"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            daily_hours(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Pair(click.ParamType):
    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no NAME=VALUE", param, ctx)
        return name, text


OPTIONS: Final = (
    click.option("--model", type=MODEL, help="Of lines that are an input alone."),
    click.option("--version", type=VERSION, help="Of the model.  [default: by its route]"),
    click.option("--window", type=Window(), default="24h", show_default=True, help="Within 90m, 24h or 7d, say."),
    click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first."),
    click.option(
        "--deadline", type=MomentAhead(), help="By when all is to be done: refused where that cannot be kept."
    ),
    click.option("--not-before", type=MomentAhead(), help="Nothing is sent before."),
    click.option("--daily", type=Daily(), help="Hours of the day, in UTC, within which it runs: 22:00-06:00."),
    click.option("--metadata", type=Pair(), multiple=True, help="Comes back with the batch; may be repeated."),
    click.option("--wait", is_flag=True, help="Wait for its end."),
    click.option("--output", type=FILE, help="File for the answers, once it has ended: waits for that."),
    click.option("--errors", type=FILE, help="File for the lines that have an error: waits, too."),
)


def with_submit_options(command: Command) -> Command:
    return with_options(command, OPTIONS)


@click.command(
    epilog=examples(
        "penstock batch submit rows.jsonl --model digits --output answers.jsonl",
        "penstock batch submit openai.jsonl --window 7d --json | jq -r .id",
        "penstock batch submit rows.jsonl --model digits --deadline 3h",
        reads=GATEWAY_URL,
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@JSON
@with_submit_options
@asks_gateway
def submit(found: Found, file: Path, *, as_json: bool, **options: Any) -> None:
    """Upload a file of JSONL and have it run as a batch.

    Its lines are requests as OpenAI's batches have them, or, with --model, inputs alone: these get the custom ids
    line-1, line-2, and so on. Exits with 0; where it waits, with 1 unless every line was answered.
    """
    output, errors = options["output"], options["errors"]
    waits = options["wait"] or output is not None or errors is not None
    metadata = dict(options["metadata"])

    async def submitted(gateway: GatewayClient) -> Document:
        with prepared(file, options["model"], options["version"]) as (body, url):
            uploaded = document(
                (await gateway.upload("/v1/files", {"purpose": "batch"}, file.name, body)).content, File
            )
        asked = {
            "input_file_id": uploaded["id"],
            "endpoint": url,
            "completion_window": options["window"],
            "metadata": metadata or None,
            "priority": options["priority"],
            "deadline": _text(options["deadline"]),
            "not_before": _text(options["not_before"]),
            "daily": options["daily"],
        }
        batch = await send(gateway, "POST", "/v1/batches", Batch, asked)
        if waits:
            click.echo(f"{batch['id']} is submitted; waiting for its end", err=True)
            batch = await ended(gateway, batch["id"])
            if output is not None or errors is not None:
                await download(gateway, batch, output, errors)
        return batch

    try:
        batch = ask(found, submitted)
    except RequestError as error:
        raise click.ClickException(error.message) from error
    show_batch(batch, as_json=as_json)
    if waits and not all_completed(batch):
        raise SystemExit(1)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


@contextmanager
def prepared(file: Path, model: str | None, version: str | None) -> Iterator[tuple[IO[bytes], str]]:
    """The file as it is to go up, and the URL that its lines ask. Raises `RequestError`."""
    with file.open("rb") as given:
        number, first = next(numbered(given), (0, b""))
        if not number:
            raise RequestError(f"{file} has no lines")
        url = asked_url(number, first)
        given.seek(0)
        if url is not None:
            if model is not None:
                raise RequestError("the lines name their URL themselves: give no --model")
            if not is_endpoint(url):
                raise RequestError(f"line {number} asks {url[:100]!r}, which no batch can")
            yield given, url
            return
        if model is None:
            raise RequestError("the lines are inputs alone: name the model with --model")
        url = url_of(model, version)
        with tempfile.TemporaryFile() as made:
            made.writelines(wrapped(given, url))
            made.seek(0)
            yield made, url


async def ended(gateway: GatewayClient, batch_id: str) -> Document:
    """The batch once it has ended."""
    waiting, pause_s = patience(), FIRST_PAUSE_S
    while True:
        batch = await waiting.until_done(lambda: read(gateway, f"/v1/batches/{batch_id}", Batch))
        if batch["status"] in ENDED:
            return batch
        await waiting.pause(pause_s)
        pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)
