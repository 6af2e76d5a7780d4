"""`penstock compare`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from penstock.asking import ask, read
from penstock.compare.page import page
from penstock.compare.rendering import TITLES, head, lines, notes, verdicts
from penstock.documents import Comparison, Document
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import MODEL
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json, show_table
from penstock.times import Duration
from runtime.clock import now_utc
from schemas.names import is_version
from schemas.records import timestamp
from schemas.topics import LaneClass


class Versions(click.ParamType):
    """Names with commas between them."""

    name = "versions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = [each.strip() for each in str(value).split(",")]
        if len(names) < 2 or not all(map(is_version, names)):
            self.fail(f"{value!r} are no versions, as 1,2", param, ctx)
        return ",".join(names)


@click.command(
    epilog=examples(
        "penstock compare digits --versions 1,2",
        "penstock compare digits --versions 1,2 --since 7d --html report.html",
        reads=GATEWAY_URL,
    )
)
@click.argument("model", type=MODEL)
@click.option("--versions", type=Versions(), required=True, help="With commas; the others are held against the first.")
@click.option("--since", "since_s", type=Duration(), default="1d", show_default=True, help="How far back; 7d at most.")
@click.option("--lane", type=click.Choice([each.value for each in LaneClass]), default="live", show_default=True)
@click.option("--html", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots, too.")
@JSON
@asks_gateway
def compare(
    found: Found, model: str, versions: str, since_s: float, lane: str, file: Path | None, *, as_json: bool
) -> None:
    """Compare versions of MODEL: failures, run times, and what callers told of answers.

    Figures in brackets are bounds that hold however often one looks. The page that --html writes loads nothing from
    elsewhere.
    """
    try:
        since = now_utc() - timedelta(seconds=since_s)
    except OverflowError as error:
        raise click.BadParameter("is beyond the calendar", param_hint="--since") from error
    params = {"versions": versions, "since": timestamp(since), "lane": lane}

    async def compared(gateway: GatewayClient) -> Document:
        return await read(gateway, f"/v1/models/{model}/compare", Comparison, params)

    answer = ask(found, compared)
    if file is not None:
        write(file, page(answer))
    if as_json:
        show_json(answer)
        return
    click.echo(printable(head(answer)))
    show_table(TITLES, lines(answer), right={"JOBS", "REWARD"})
    click.echo()
    for told in (*verdicts(answer), *notes(answer)):
        click.echo(printable(told))
    if file is not None:
        click.echo(f"wrote {file}", err=True)


def write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
