"""`penstock route shadow`: how often shadows agree, and on which jobs they do not."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import click

from penstock.asking import MAX_PAGE, ask, read
from penstock.documents import Document, ShadowFindings
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import MODEL, VERSION
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, ago, show_json, show_table
from runtime.clock import now_utc

PAIR_TITLES: Final = (
    "SHADOW",
    "SHADOW OF",
    "COPIED",
    "COMPARED",
    "AGREE",
    "DISAGREE",
    "AGREEMENT",
    "INVALID",
    "DROPPED",
)
JOB_TITLES: Final = ("JOB", "SHADOW", "AGO", "WHY", "OUTPUT", "ROWS", "ANSWERED", "SHADOWED", "LARGEST DIFFERENCE")
NUMBERS: Final = ("COPIED", "COMPARED", "AGREE", "DISAGREE", "AGREEMENT", "INVALID", "ROWS")


@click.command(epilog=examples("penstock route shadow digits", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@click.option("--version", type=VERSION, help="Only copies that this version ran.")
@click.option("--of", "shadow_of", type=VERSION, help="Only jobs that this version answered.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True, help="The newest so many.")
@JSON
@asks_gateway
def shadow(found: Found, model: str, version: str | None, shadow_of: str | None, limit: int, *, as_json: bool) -> None:
    """Show how often MODEL's shadows agreed with the answers that callers got in the last day, and the newest jobs on
    which they did not.

    `penstock route set MODEL --shadow VERSION=SHARE` makes a version a shadow.
    """
    chosen = {name: value for name, value in (("version", version), ("shadow_of", shadow_of)) if value}
    params = {"limit": str(limit), **chosen}

    async def asked(gateway: GatewayClient) -> Document:
        return await read(gateway, f"/v1/models/{model}/shadow", ShadowFindings, params)

    document = ask(found, asked)
    if as_json:
        show_json(document)
    elif not (document["pairs"] or document["data"]):
        click.echo("nothing was copied to a shadow in the last day", err=True)
    else:
        show_table(PAIR_TITLES, pair_rows(document["pairs"]), right=NUMBERS)
        if document["data"]:
            click.echo()
            show_table(JOB_TITLES, job_rows(document["data"], now_utc()), right=NUMBERS)


def pair_rows(pairs: Sequence[Document]) -> list[tuple[str, ...]]:
    return [
        (
            each["version"],
            each["shadow_of"],
            *(str(each[name]) for name in ("copied", "compared", "agreed", "disagreed")),
            "" if each["agreement"] is None else f"{100 * each['agreement']:.2f} %",
            str(each["invalid"] or ""),
            ", ".join(f"{reason} {count}" for reason, count in each["dropped"].items()),
        )
        for each in pairs
    ]


def job_rows(jobs: Sequence[Document], now: datetime) -> list[tuple[str, ...]]:
    return [
        (
            each["job_id"],
            each["version"],
            ago(datetime.fromisoformat(each["at"]), now),
            each["why"],
            each["output"],
            str(each["rows"] or ""),
            each["answered"],
            each["shadowed"],
            "" if each["largest_difference"] is None else f"{each['largest_difference']:.4g}",
        )
        for each in jobs
    ]
