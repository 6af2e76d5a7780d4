"""`penstock webhooks listen`."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import click

from penstock.asking import ask, send
from penstock.documents import DeletedWebhookEndpoint, WebhookEndpoint
from penstock.errors import in_a_line
from penstock.finding import GatewayUrl, asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from penstock.webhooks.asking import ENDPOINT_ID, ENDPOINTS, endpoint_of, events_option
from penstock.webhooks.listener import Listener, Received, as_document, forwarding_to, line
from runtime.clock import now_utc
from schemas.errors import PenstockError
from schemas.signing import secret_key
from schemas.webhooks import END_EVENTS, Mode

SECRET_VARIABLE: Final = "WEBHOOK_SECRET"  # noqa: S105 - a name
NAME: Final = "penstock webhooks listen"
TERMINATED: Final = 128 + signal.SIGTERM
# Far more than a secret has.
MOST_CHARACTERS: Final = 4096
SHOWN_TO_OTHERS: Final = (
    "whoever lists the processes of this machine sees what stands behind --secret: --secret-file, or"
    f" {SECRET_VARIABLE}, shows it to nobody"
)


class Secret(click.ParamType):
    name = "secret"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            secret_key(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


class SecretFile(click.ParamType):
    """A file that holds a secret and nothing else: what comes of it is the secret."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            with click.open_file(value, encoding="utf-8") as file:
                text = file.read(MOST_CHARACTERS)
        except (OSError, ValueError) as error:  # the latter for what is no text
            self.fail(f"{value!r} cannot be read: {in_a_line(error)}", param, ctx)
        return Secret().convert(text.strip(), param, ctx)


@click.command(
    epilog=examples(
        "penstock webhooks listen",
        "penstock webhooks listen --forward-to http://localhost:3000/hooks",
        "penstock webhooks secret | penstock webhooks listen \\",
        "    --forward-to http://localhost:3000/hooks --secret-file -",
        "penstock webhooks listen --count 1 --json | jq .event.data.status",
        reads=f"{GATEWAY_URL} {SECRET_VARIABLE}",
    )
)
@click.option("--forward-to", type=GatewayUrl(), help="Send each there as well; it is received once that answers 2xx.")
@events_option("Given once or several times: ", "  [default: the ends of jobs]")
@click.option(
    "--endpoint", type=ENDPOINT_ID, help="Take the events of this one, which is pulled.  [default: one of its own]"
)
@click.option(
    "--secret-file",
    "secret_in_file",
    type=SecretFile(),
    help="Holds the secret, `-` is standard input. Of your receiver: what is forwarded is signed with it. Of"
    " --endpoint, if that is given: its events are checked with it.",
)
@click.option(
    "--secret",
    type=Secret(),
    envvar=SECRET_VARIABLE,
    show_envvar=True,
    help="The secret itself, which others on this machine can see in the list of processes.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.  [default: none]")
@JSON
@asks_gateway
@click.pass_context
def listen(
    ctx: click.Context,
    /,
    found: Found,
    forward_to: str | None,
    event_types: Sequence[str],
    endpoint: str | None,
    secret_in_file: str | None,
    secret: str | None,
    count: int | None,
    *,
    as_json: bool,
) -> None:
    """Show the events of jobs that end from now on, until Ctrl-C.

    They are pulled from the gateway, so that no address of this machine must be reachable. Their signatures are
    checked. The endpoint that is made for it goes when it ends.
    """
    if endpoint is not None and event_types:
        raise click.UsageError("--endpoint has its own events: penstock webhooks update changes them")
    secret = the_secret(ctx, secret_in_file, secret)

    def show(received: Received) -> None:
        if as_json:
            show_json(as_document(received))
        else:
            click.echo(printable(line(received, now_utc())))

    async def listening(gateway: GatewayClient) -> None:
        stop_on_sigterm()
        async with (
            endpoint_for(gateway, endpoint, secret, event_types) as (endpoint_id, its_secret),
            forwarding_to(forward_to, secret) as forward,
        ):
            click.echo(ready(endpoint_id, its_secret, forward_to, secret), err=True)
            listener = Listener(gateway, endpoint_id, its_secret, forward=forward, show=show, now=now_utc)
            await listener.run(count)

    try:
        ask(found, listening)
    except asyncio.CancelledError:
        raise SystemExit(TERMINATED) from None


def the_secret(ctx: click.Context, in_file: str | None, given: str | None) -> str | None:
    """What a file holds stands before what the environment does."""
    if ctx.get_parameter_source("secret") is click.core.ParameterSource.COMMANDLINE:
        if in_file is not None:
            raise click.UsageError("give --secret-file or --secret, not both")
        click.echo(f"warning: {SHOWN_TO_OTHERS}", err=True)
    return given if in_file is None else in_file


def ready(endpoint_id: str, its_secret: str | None, forward_to: str | None, secret: str | None) -> str:
    checked = "" if its_secret else "; signatures are not checked, for want of a secret: --secret-file"
    forwarded = f", forwarding to {forward_to}" if forward_to else ""
    # Else the receiver would have no way to know it.
    signed = (
        f", signed with {its_secret}: --secret-file names your own" if forward_to and its_secret and not secret else ""
    )
    return printable(f"listening as {endpoint_id}{forwarded}{signed}{checked}")


@asynccontextmanager
async def endpoint_for(
    gateway: GatewayClient, endpoint_id: str | None, secret: str | None, event_types: Sequence[str]
) -> AsyncIterator[tuple[str, str | None]]:
    """The endpoint to pull from, and its secret: the one that is named, else one of our own, while the block lasts."""
    if endpoint_id is not None:
        if (await endpoint_of(gateway, endpoint_id))["mode"] != Mode.PULL:
            raise click.ClickException(f"{endpoint_id} is sent to, not pulled from: leave --endpoint away")
        yield endpoint_id, secret
        return
    types = list(event_types) or [event.value for event in END_EVENTS]
    body = {"name": NAME, "mode": Mode.PULL.value, "event_types": types}
    made = await send(gateway, "POST", ENDPOINTS, WebhookEndpoint, body)
    try:
        yield made["id"], made["signing_secret"]
    finally:
        await remove(gateway, made["id"])


async def remove(gateway: GatewayClient, endpoint_id: str) -> None:
    try:
        await send(gateway, "DELETE", f"{ENDPOINTS}/{endpoint_id}", DeletedWebhookEndpoint)
    except PenstockError as error:
        left = f"{endpoint_id} is left: {error.message}; penstock webhooks delete {endpoint_id} removes it"
        click.echo(printable(left), err=True)


def stop_on_sigterm() -> None:
    """As Ctrl-C does, so that nothing of ours is left behind."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
