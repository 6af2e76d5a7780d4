"""`penstock webhooks endpoints`."""

import click

from penstock.asking import ask, each_of
from penstock.documents import Document, WebhookEndpoints
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import LIMIT
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_facts, show_json, show_table
from penstock.webhooks.asking import ENDPOINT_ID, ENDPOINTS, endpoint_of
from penstock.webhooks.rendering import ENDPOINT_NUMBERS, LIST_TITLES, facts, list_row
from runtime.clock import now_utc


@click.command(epilog=examples("penstock webhooks endpoints", reads=GATEWAY_URL))
@click.argument("endpoint", type=ENDPOINT_ID, required=False)
@LIMIT
@JSON
@asks_gateway
def endpoints(found: Found, endpoint: str | None, limit: int, *, as_json: bool) -> None:
    """List endpoints, newest first, with how many events wait for each; or show ENDPOINT alone."""

    async def listed(gateway: GatewayClient) -> list[Document]:
        if endpoint is not None:
            return [await endpoint_of(gateway, endpoint)]
        return [each async for each in each_of(gateway, ENDPOINTS, WebhookEndpoints, {}, limit)]

    read = ask(found, listed)
    if as_json:
        for each in read:
            show_json(each)
    elif endpoint is not None:
        show_facts(facts(read[0], now_utc()))
    elif read:
        show_table(LIST_TITLES, [list_row(each) for each in read], right=ENDPOINT_NUMBERS)
    else:
        click.echo("no endpoints: penstock webhooks create URL", err=True)
