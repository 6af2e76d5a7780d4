"""`penstock webhooks rotate` and `secret`."""

import click

from penstock.asking import ask, read, send
from penstock.documents import Document, WebhookEndpoint, WebhookSecret
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from penstock.times import Duration
from penstock.webhooks.asking import ENDPOINT, ENDPOINTS
from schemas.webhooks import LONGEST_GRACE

DEFAULT_SECRET = "/v1/webhooks/default/secret"  # noqa: S105 - a path
GRACE = click.option(
    "--grace",
    "grace_s",
    type=Duration(zero=True),
    default="24h",
    show_default=True,
    help="So long the old one signs as well; 0: not at all, 7d at most.",
)


def checked(grace_s: float) -> int:
    if grace_s > LONGEST_GRACE.total_seconds():
        raise click.UsageError(f"--grace may be {LONGEST_GRACE.days}d at most")
    return int(grace_s)


@click.command(epilog=examples("penstock webhooks rotate we_1a2b3c --grace 2d", reads=GATEWAY_URL))
@ENDPOINT
@GRACE
@JSON
@asks_gateway
def rotate(found: Found, endpoint: str, grace_s: float, *, as_json: bool) -> None:
    """Give ENDPOINT a new signing secret, and print it: it is shown only once.

    Until --grace is over events are signed with both, so that receivers can change over in their time.
    """
    body = {"grace_s": checked(grace_s)}

    async def rotated(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", f"{ENDPOINTS}/{endpoint}/rotate_secret", WebhookEndpoint, body)

    done = ask(found, rotated)
    if as_json:
        show_json(done)
    else:
        click.echo(printable(done.get("signing_secret") or ""))


@click.command(epilog=examples("export WEBHOOK_SECRET=$(penstock webhooks secret)", reads=GATEWAY_URL))
@click.option("--rotate", "rotates", is_flag=True, help="Make a new one, and print that.")
@GRACE
@JSON
@asks_gateway
@click.pass_context
def secret(ctx: click.Context, /, found: Found, grace_s: float, *, rotates: bool, as_json: bool) -> None:
    """Print the secret that signs the webhooks which jobs themselves name. Endpoints have their own."""
    given = ctx.get_parameter_source("grace_s") is click.core.ParameterSource.COMMANDLINE
    if given and not rotates:
        raise click.UsageError("--grace says how long the old one signs: give --rotate, too")
    body = {"grace_s": checked(grace_s)}

    async def asked(gateway: GatewayClient) -> Document:
        if rotates:
            return await send(gateway, "POST", f"{DEFAULT_SECRET}/rotate", WebhookSecret, body)
        return await read(gateway, DEFAULT_SECRET, WebhookSecret)

    done = ask(found, asked)
    if as_json:
        show_json(done)
    else:
        click.echo(printable(done["key"]))
