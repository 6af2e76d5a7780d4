"""`penstock webhooks create`, `update` and `delete`."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import click

from penstock.asking import ask, send
from penstock.documents import DeletedWebhookEndpoint, Document, WebhookEndpoint
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient, is_loopback
from penstock.help import examples
from penstock.parameters import CONFIRM_ABOVE, TEXT, Command, confirm, with_options
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_facts, show_json
from penstock.webhooks.asking import ENDPOINT, ENDPOINTS, endpoint_of, events, events_option, given_only
from penstock.webhooks.rendering import facts
from runtime.clock import now_utc
from schemas.errors import Refused
from schemas.webhooks import END_EVENTS, PayloadKind

LIMITS: Final = ("concurrency", "max_per_second", "timeout_s", "connect_timeout_s")


def _option(name: str, variable: str, told: str, **options: Any) -> Callable[[Command], Command]:
    return click.option(name, variable, help=told, **options)


_ASKED: Final = (
    click.option("--name", type=TEXT, help="Shown to people, and sent nowhere."),
    events_option("Given once or several times: "),
    click.option("--payload", type=click.Choice([*map(str, PayloadKind)]), help="thin: a link in place of the result."),
    click.option("--ordered/--unordered", default=None, help="One at a time of each job, the earlier first."),
    _option("--concurrency", "concurrency", "Requests at a time.", type=click.IntRange(min=1)),
    _option("--max-per-second", "max_per_second", "Requests a second; 0: any number.", type=click.FloatRange(min=0)),
    _option("--timeout", "timeout_s", "Seconds that a request may take.", type=click.FloatRange(min=0, min_open=True)),
    _option(
        "--connect-timeout",
        "connect_timeout_s",
        "Seconds until it is connected.",
        type=click.FloatRange(min=0, min_open=True),
    ),
)


def describes(command: Command) -> Command:
    """A command that gets what an endpoint is to be like."""
    return with_options(command, _ASKED)


def wanted(given: dict[str, Any]) -> Document:
    """The request: what is given."""
    body = given_only({name: value for name, value in given.items() if name not in LIMITS})
    if not body.get("event_types"):
        body.pop("event_types", None)
    limits = given_only({name: given.get(name) for name in LIMITS})
    if limits:
        body["limits"] = limits | ({"max_per_second": None} if limits.get("max_per_second") == 0 else {})
    return body


@click.command(
    epilog=examples(
        "penstock webhooks create https://example.com/hooks",
        "penstock webhooks create https://example.com/hooks --event job.failed \\",
        "    --payload thin --max-per-second 20",
        "penstock webhooks create --pull --name nightly",
        reads=GATEWAY_URL,
    )
)
@click.argument("url", type=TEXT, required=False)
@click.option("--pull", is_flag=True, help="Keep events for `listen`, or a client that comes for them.")
@describes
@JSON
@asks_gateway
def create(found: Found, url: str | None, *, pull: bool, as_json: bool, **given: Any) -> None:
    """Have events sent to URL, from now on. Prints the secret that signs them, which is shown only once.

    Unless --event says otherwise these are the ends of jobs. A secret that is lost is replaced: `rotate`.
    """
    if (url is None) is not pull:
        raise click.UsageError("give URL, or --pull where events are to be pulled")
    given["event_types"] = given["event_types"] or [event.value for event in END_EVENTS]
    given["name"] = given["name"] or (urlsplit(url).hostname if url else None) or "pulled"
    body = wanted(given) | ({"mode": "pull"} if pull else {"url": url})

    async def created(gateway: GatewayClient) -> Document:
        try:
            return await send(gateway, "POST", ENDPOINTS, WebhookEndpoint, body)
        except Refused as error:
            if error.param == "url" and is_loopback(urlsplit(url or "").hostname or ""):
                here = f"a receiver on this machine gets events by `penstock webhooks listen --forward-to {url}`"
                raise click.ClickException(f"{error.message}; {here}") from error
            raise

    show_endpoint(ask(found, created), as_json=as_json)


@click.command(
    epilog=examples("penstock webhooks update we_1a2b3c --event job.failed --concurrency 2", reads=GATEWAY_URL)
)
@ENDPOINT
@click.option("--url", type=TEXT, help="Where events are sent from now on, those that wait among them.")
@click.option("--pull", is_flag=True, help="Send nothing more; keep events for `listen`, or a client that comes.")
@describes
@JSON
@asks_gateway
def update(found: Found, endpoint: str, url: str | None, *, pull: bool, as_json: bool, **given: Any) -> None:
    """Change what is given of ENDPOINT. Its events are then those of --event, and no others.

    One that is sent to is pulled from after --pull, and one that is pulled from is sent to after --url.
    """
    if url is not None and pull:
        raise click.UsageError("give --url or --pull: where events are pulled, they are sent nowhere")
    body = wanted(given)
    if url is not None:
        body |= {"mode": "push", "url": url}
    elif pull:
        body |= {"mode": "pull"}
    if not body:
        raise click.UsageError("nothing to change")

    async def updated(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", f"{ENDPOINTS}/{endpoint}", WebhookEndpoint, body)

    show_endpoint(ask(found, updated), as_json=as_json)


def show_endpoint(endpoint: Document, *, as_json: bool) -> None:
    if as_json:
        show_json(endpoint)
    else:
        show_facts(facts(endpoint, now_utc()))


@click.command(epilog=examples("penstock webhooks delete we_1a2b3c", reads=GATEWAY_URL))
@ENDPOINT
@click.option("--yes", is_flag=True, help=f"Do not ask, however many events wait (asked above {CONFIRM_ABOVE}).")
@JSON
@asks_gateway
def delete(found: Found, endpoint: str, *, yes: bool, as_json: bool) -> None:
    """Remove ENDPOINT. Events that wait for it are dropped."""

    async def deleted(gateway: GatewayClient) -> Document:
        return await send(gateway, "DELETE", f"{ENDPOINTS}/{endpoint}", DeletedWebhookEndpoint)

    waiting = ask(found, lambda gateway: endpoint_of(gateway, endpoint))["pending"]
    confirm(f"drop {events(waiting)} that wait for {endpoint}?", waiting, yes=yes)
    done = ask(found, deleted)
    if as_json:
        show_json(done)
    else:
        click.echo(printable(f"{endpoint} is gone"))
