"""`penstock webhooks deliveries`."""

from typing import Any

import click

from penstock.asking import ask, each_of, read
from penstock.documents import Document, WebhookDeliveries, WebhookDelivery
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import LIMIT
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_facts, show_json, show_table
from penstock.webhooks.asking import DELIVERIES, DELIVERY_ID
from penstock.webhooks.meaning import filter_of, means_deliveries
from penstock.webhooks.rendering import (
    ATTEMPT_TITLES,
    DELIVERY_NUMBERS,
    DELIVERY_TITLES,
    attempt_row,
    delivery_facts,
    delivery_row,
)
from runtime.clock import now_utc


@click.command(
    epilog=examples(
        "penstock webhooks deliveries --state pending --endpoint we_1a2b3c",
        "penstock webhooks deliveries --job job_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2b3c4",
        "penstock webhooks deliveries msg_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2",
        reads=GATEWAY_URL,
    )
)
@click.argument("delivery", type=DELIVERY_ID, required=False)
@means_deliveries
@LIMIT
@JSON
@asks_gateway
def deliveries(found: Found, delivery: str | None, limit: int, *, as_json: bool, **given: Any) -> None:
    """List deliveries, newest first; or show DELIVERY alone, with its attempts.

    They are kept for 30 days from their end.
    """
    wanted = filter_of(given)
    if delivery is not None:
        if wanted:
            raise click.UsageError("DELIVERY is shown alone: give it, or options, not both")
        show_delivery(ask(found, lambda gateway: delivery_of(gateway, delivery)), as_json=as_json)
        return

    async def listed(gateway: GatewayClient) -> list[Document]:
        return [each async for each in each_of(gateway, DELIVERIES, WebhookDeliveries, wanted, limit)]

    read, now = ask(found, listed), now_utc()
    if as_json:
        for each in read:
            show_json(each)
    elif read:
        show_table(DELIVERY_TITLES, [delivery_row(each, now) for each in read], right=DELIVERY_NUMBERS)
    else:
        click.echo("no deliveries", err=True)


async def delivery_of(gateway: GatewayClient, delivery_id: str) -> Document:
    return await read(gateway, f"{DELIVERIES}/{delivery_id}", WebhookDelivery)


def show_delivery(delivery: Document, *, as_json: bool) -> None:
    if as_json:
        show_json(delivery)
        return
    show_facts(delivery_facts(delivery, now_utc()))
    if attempts := delivery.get("attempts"):
        click.echo()
        show_table(ATTEMPT_TITLES, [attempt_row(each) for each in attempts])
