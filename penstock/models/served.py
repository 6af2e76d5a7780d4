"""The commands of `penstock models` that ask a gateway."""

import click

from penstock.asking import ask, read, send
from penstock.documents import Document, Model, ModelNames, WantedState
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.models.rendering import TITLES, rows
from penstock.parameters import MODEL, VERSION
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json, show_table


@click.command(
    "list", epilog=examples("penstock models list", "penstock models list --json | jq -r .id", reads=GATEWAY_URL)
)
@click.argument("model", type=MODEL, required=False)
@JSON
@asks_gateway
def list_models(found: Found, model: str | None, *, as_json: bool) -> None:
    """List the model versions that workers serve or could not load, of all models or of one."""

    async def listed(gateway: GatewayClient) -> list[Document]:
        names = [model] if model else [each["id"] for each in (await read(gateway, "/v1/models", ModelNames))["data"]]
        return [await read(gateway, f"/v1/models/{name}", Model) for name in names]

    found_models = ask(found, listed)
    if as_json:
        for each in found_models:
            show_json(each)
    elif found_models:
        show_table(TITLES, rows(found_models))
    else:
        click.echo("no models", err=True)


@click.command(epilog=examples("penstock models load digits 2", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@click.argument("version", type=VERSION)
@JSON
@asks_gateway
def load(found: Found, model: str, version: str, *, as_json: bool) -> None:
    """Have VERSION of MODEL loaded by the workers whose repository has it.

    Undoes an earlier unload, and has a version tried again that could not be loaded. Comes back once that is ordered;
    `penstock models list` shows what became of it.
    """
    _want(found, model, version, "load", as_json=as_json)


@click.command(epilog=examples("penstock models unload digits 1", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@click.argument("version", type=VERSION)
@JSON
@asks_gateway
def unload(found: Found, model: str, version: str, *, as_json: bool) -> None:
    """Take VERSION of MODEL out of service, on all workers and until it is loaded again."""
    _want(found, model, version, "unload", as_json=as_json)


def _want(found: Found, model: str, version: str, verb: str, *, as_json: bool) -> None:
    async def wanted(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", f"/v1/models/{model}/versions/{version}:{verb}", WantedState)

    state = ask(found, wanted)
    if as_json:
        show_json(state)
    else:
        heard = "" if state["announced"] or verb == "unload" else "; no worker has announced it so far"
        click.echo(f"{printable(state['id'])} is to be {printable(state['state'])}{heard}")
