"""`penstock release`."""

import click

from penstock.asking import ask
from penstock.documents import Document
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.holds.asking import DRY_RUN, HOLD, YES, hold_of, jobs, left_of, meant, released, waiting_jobs
from penstock.parameters import NOTE, confirm
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json


@click.command(
    epilog=examples("penstock release hold_019b76da1c00aa01 --note 'labels are right'", reads=GATEWAY_URL),
)
@click.argument("ids", nargs=-1, required=True, type=HOLD)
@NOTE
@DRY_RUN
@YES
@JSON
@asks_gateway
def release(found: Found, ids: tuple[str, ...], note: str | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Release holds: what no other hold means goes on.

    What an `end` has ended stays so. `penstock hold list` shows the holds that stand.
    """

    async def counted(gateway: GatewayClient) -> list[Document]:
        return [await hold_of(gateway, each) for each in ids]

    async def let_go(gateway: GatewayClient) -> list[Document]:
        return [await released(gateway, each, note) for each in ids]

    holds = ask(found, counted)
    waiting = left_of([hold for hold in holds if hold["action"] == "hold"])
    if not dry_run:
        confirm(f"let {jobs(waiting)} go on?", waiting, yes=yes)
        holds = ask(found, let_go)
    for hold in holds:
        if as_json:
            show_json(hold)
        else:
            told = waiting_jobs(int(hold["waiting"])) if dry_run else "released"
            click.echo(printable(f"{hold['id']}: {hold['action']} of {meant(hold)}: {told}"))
