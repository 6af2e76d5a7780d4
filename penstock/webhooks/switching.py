"""`penstock webhooks enable`, `disable` and `test`."""

from datetime import datetime
from typing import Final

import click

from penstock.asking import ask, send
from penstock.documents import Document, WebhookEndpoint, WebhookTestResult
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import CONFIRM_ABOVE, TEXT, confirm
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from penstock.times import Moment
from penstock.webhooks.asking import ENDPOINT, ENDPOINTS, EVENT, endpoint_of, events, text_of
from schemas.webhooks import TEST_EVENT, Replay

# A notifier sends it, and the gateway waits for that.
TEST_WAIT_S: Final = 30


@click.command(
    epilog=examples(
        "penstock webhooks enable we_1a2b3c",
        "penstock webhooks enable we_1a2b3c --since 2h",
        reads=GATEWAY_URL,
    )
)
@ENDPOINT
@click.option(
    "--replay",
    type=click.Choice([Replay.MISSED.value, Replay.NONE.value]),
    help="missed: send what was held. none: drop it.  [default: missed]",
)
@click.option(
    "--since",
    type=Moment(),
    help="Of what was held, drop the older; send what failed since as well: 30m, 2h, 7d (ago) or 2030-01-31T12:00:00Z.",
)
@click.option("--yes", is_flag=True, help=f"Drop held events unasked, however many (asked above {CONFIRM_ABOVE}).")
@JSON
@asks_gateway
def enable(
    found: Found, endpoint: str, replay: str | None, since: datetime | None, *, yes: bool, as_json: bool
) -> None:
    """Send to ENDPOINT again. What was held meanwhile is sent, oldest first, unless an option says otherwise."""
    if since is not None and replay is not None:
        raise click.UsageError("--since and --replay both say what is sent: give one")
    body: Document = {"replay": replay or Replay.MISSED.value}
    if since is not None:
        body = {"replay": Replay.SINCE.value, "since": text_of(since)}
    if body["replay"] != Replay.MISSED:
        held = ask(found, lambda gateway: endpoint_of(gateway, endpoint))["held"]
        which = "" if since is None else f" of before {body['since']}"
        confirm(f"drop what {endpoint} has not got{which}, of {events(held)} that are held?", held, yes=yes)

    async def enabled(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", f"{ENDPOINTS}/{endpoint}/enable", WebhookEndpoint, body)

    done = ask(found, enabled)
    if as_json:
        show_json(done)
    else:
        sent = int(done.get("replayed") or 0)
        click.echo(printable(f"{endpoint} is {done['status']}: {events(sent)} of before {goes(sent)} out now"))


def goes(number: int) -> str:
    return "goes" if number == 1 else "go"


@click.command(epilog=examples("penstock webhooks disable we_1a2b3c --reason 'it moves'", reads=GATEWAY_URL))
@ENDPOINT
@click.option("--reason", type=TEXT, help="Why: shown with it.")
@JSON
@asks_gateway
def disable(found: Found, endpoint: str, reason: str | None, *, as_json: bool) -> None:
    """Send nothing to ENDPOINT any more. Its events are held: `enable` sends them, or drops them."""
    body = {"reason": reason} if reason else {}

    async def disabled(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", f"{ENDPOINTS}/{endpoint}/disable", WebhookEndpoint, body)

    done = ask(found, disabled)
    if as_json:
        show_json(done)
    else:
        click.echo(printable(f"{endpoint} is {done['status']}: {events(done['held'])} held"))
        click.echo(printable(f"back: penstock webhooks enable {endpoint}"))


@click.command(epilog=examples("penstock webhooks test we_1a2b3c --event job.failed", reads=GATEWAY_URL))
@ENDPOINT
@click.option("--event", type=EVENT, metavar="TYPE", help="That it is to look like.  [default: a test]")
@JSON
@asks_gateway
def test(found: Found, endpoint: str, event: str | None, *, as_json: bool) -> None:
    """Send one event to ENDPOINT now, whatever its status, and tell what it answered.

    Exits with 1 unless that was a success.
    """
    body = {"event_type": event or TEST_EVENT}

    async def tested(gateway: GatewayClient) -> Document:
        path = f"{ENDPOINTS}/{endpoint}/test"
        return await send(gateway, "POST", path, WebhookTestResult, body, wait_s=TEST_WAIT_S)

    done = ask(found, tested)
    if as_json:
        show_json(done)
    else:
        click.echo(printable(f"{endpoint} answered {done['status_code']} to {done['event_type']}"))
    if not 200 <= done["status_code"] < 300:
        raise SystemExit(1)
