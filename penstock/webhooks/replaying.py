"""`penstock webhooks replay`."""

from typing import Any

import click

from penstock.asking import ask, send
from penstock.documents import Document, WebhookDelivery, WebhookDeliveryCount, WebhookReplay
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import CONFIRM_ABOVE, confirm
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from penstock.webhooks.asking import DELIVERIES, DELIVERY_ID
from penstock.webhooks.meaning import filter_of, means_deliveries
from stores.webhooks import MOST_COUNTED


@click.command(
    epilog=examples(
        "penstock webhooks replay msg_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2",
        "penstock webhooks replay --endpoint we_1a2b3c --state failed --since 2h",
        reads=GATEWAY_URL,
    )
)
@click.argument("ids", nargs=-1, type=DELIVERY_ID, metavar="[DELIVERY]...")
@means_deliveries
@click.option("--dry-run", is_flag=True, help="Only count them, and change nothing.")
@click.option("--yes", is_flag=True, help=f"Do not ask, however many they are (asked above {CONFIRM_ABOVE}).")
@JSON
@asks_gateway
def replay(found: Found, ids: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Deliver again what has ended: each DELIVERY, or all that options mean, oldest first.

    They keep their ids, so that a receiver which has seen one knows it; time and signature are new. What options mean
    is counted first.
    """
    wanted = filter_of(given)
    if bool(ids) is bool(wanted):
        raise click.UsageError("which deliveries are meant: give their ids, or options that say so")
    if ids and dry_run:
        raise click.UsageError("--dry-run counts what options mean")
    if ids:
        for each in ask(found, lambda gateway: replayed(gateway, ids)):
            _show(each, f"{each['id']} is {each['state']}", as_json=as_json)
        return
    matched = ask(found, lambda gateway: counted(gateway, wanted))
    if dry_run:
        _show({"matched": matched}, f"{deliveries(matched)} would be tried again", as_json=as_json)
        return
    confirm(f"try {deliveries(matched)} again?", matched, yes=yes)
    number = ask(found, lambda gateway: replayed_all(gateway, wanted)) if matched else 0
    _show({"replayed": number}, f"{deliveries(number)} {'is' if number == 1 else 'are'} tried again", as_json=as_json)


def _show(document: Document, told: str, *, as_json: bool) -> None:
    if as_json:
        show_json(document)
    else:
        click.echo(told)


async def replayed(gateway: GatewayClient, ids: tuple[str, ...]) -> list[Document]:
    return [await send(gateway, "POST", f"{DELIVERIES}/{each}/replay", WebhookDelivery) for each in ids]


async def counted(gateway: GatewayClient, wanted: dict[str, str]) -> int:
    body = {"filter": wanted, "dry_run": True}
    return int((await send(gateway, "POST", f"{DELIVERIES}/replay", WebhookDeliveryCount, body))["matched"])


async def replayed_all(gateway: GatewayClient, wanted: dict[str, str]) -> int:
    """How many. A request replays some thousands, and the next goes on behind them."""
    body: Document = {"filter": wanted}
    number, more = 0, True
    while more:
        step = await send(gateway, "POST", f"{DELIVERIES}/replay", WebhookReplay, body)
        number += step["replayed"]
        more, body = step["has_more"], {"filter": wanted, "after": step["next_after"]}
    return number


def deliveries(number: int) -> str:
    """`1 delivery`, `7 deliveries`, `10000 deliveries or more`."""
    if number >= MOST_COUNTED:
        return f"{MOST_COUNTED} deliveries or more"
    return f"{number} delivery" if number == 1 else f"{number} deliveries"
