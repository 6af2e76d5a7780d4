"""`penstock batch status`, `list` and `cancel`."""

from collections.abc import Sequence

import click

from penstock.asking import ask, each_of, read
from penstock.batch.documents import TITLES, Batch, Batches, facts, row
from penstock.canceling import cancel_each
from penstock.documents import Document
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import BATCH, LIMIT
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_facts, show_json, show_table

ids = click.argument("ids", nargs=-1, required=True, type=BATCH, metavar="ID...")


@click.command(epilog=examples("penstock batch status batch_0199f0a7b3c1", reads=GATEWAY_URL))
@ids
@JSON
@asks_gateway
def status(found: Found, ids: Sequence[str], *, as_json: bool) -> None:
    """Show how far batches are."""

    async def shown(gateway: GatewayClient) -> None:
        for number, batch_id in enumerate(ids):
            show_batch(await read(gateway, f"/v1/batches/{batch_id}", Batch), as_json=as_json, first=number == 0)

    ask(found, shown)


@click.command(epilog=examples("penstock batch cancel batch_0199f0a7b3c1", reads=GATEWAY_URL))
@ids
@JSON
@asks_gateway
def cancel(found: Found, ids: Sequence[str], *, as_json: bool) -> None:
    """Cancel batches; what has ended by then is kept.

    Exits with 1 if one had ended otherwise.
    """

    cancel_each(found, "batches", ids, Batch, {"cancelling", "cancelled"}, as_json=as_json)


@click.command("list", epilog=examples("penstock batch list --limit 5 --json", reads=GATEWAY_URL))
@LIMIT
@JSON
@asks_gateway
def list_batches(found: Found, limit: int, *, as_json: bool) -> None:
    """List batches, the newest first."""

    async def listed(gateway: GatewayClient) -> list[Document]:
        return [batch async for batch in each_of(gateway, "/v1/batches", Batches, {}, limit)]

    batches = ask(found, listed)
    if as_json:
        for batch in batches:
            show_json(batch)
    elif batches:
        show_table(TITLES, [row(batch) for batch in batches], right=("LINES", "COMPLETED", "FAILED"))
    if not batches:
        click.echo("no batches", err=True)


def show_batch(batch: Document, *, as_json: bool, first: bool = True) -> None:
    if as_json:
        show_json(batch)
        return
    if not first:
        click.echo()
    show_facts(facts(batch))
