"""`penstock route switch`: all jobs to another version at once, when its workers are warm."""

import asyncio
from typing import Final, NamedTuple

import click

from penstock.asking import WAITED_TOO_LONG, ask, patience, read, telling
from penstock.documents import Document, Model
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import MODEL, NOTE, VERSION
from penstock.plain import printable
from penstock.routes.asking import WAIT, put_route, revision_of, route_of, show_changed, wanted
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json
from schemas.routes import CANARY, STABLE, WHOLE

LOOK_EVERY_S: Final = 1.0


class Switched(NamedTuple):
    """`route` as it is now, and as it was `before`; where it was so already, nothing was changed."""

    route: Document
    before: Document | None
    model: Document
    changed: bool


@click.command(epilog=examples("penstock route switch digits 2 --workers 4 --timeout 600", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@click.argument("version", type=VERSION)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="That serve VERSION first.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Seconds to wait for the workers.",
)
@NOTE
@WAIT
@JSON
@asks_gateway
def switch(
    found: Found,
    model: str,
    version: str,
    workers: int,
    timeout_s: float,
    note: str | None,
    wait_s: int,
    *,
    as_json: bool,
) -> None:
    """Move all of MODEL's jobs to VERSION, once enough workers have it loaded and warm.

    New jobs go there in one revision; those that wait for the version before are still run by it, so keep its workers
    until they are done. Exits with 124 when time is up, and nothing was changed then.
    """

    async def switched(gateway: GatewayClient) -> Switched:
        async with asyncio.timeout(timeout_s):
            found_model = await warm(gateway, model, version, workers)
        before = await route_of(gateway, model)
        moved = all_to(version, before)
        if before is not None and moved == wanted(before):
            return Switched(before, before, found_model, changed=False)
        route = await put_route(gateway, model, moved, revision_of(before), note or f"switch to {version}", wait_s)
        return Switched(route, before, found_model, changed=True)

    try:
        done = ask(found, switched)
    except TimeoutError:
        told = f"not {workers} of {model}/{version}'s workers are ready within {timeout_s:g} s; nothing was changed"
        click.echo(f"Error: {told}", err=True)
        raise SystemExit(WAITED_TOO_LONG) from None
    _show(done, model, version, wait_s, as_json=as_json)


def _show(done: Switched, model: str, version: str, wait_s: int, *, as_json: bool) -> None:
    if not done.changed:
        if as_json:
            show_json(done.route)
        else:
            click.echo(f"all jobs of {model} go to version {version} already, since revision {done.route['revision']}")
        return
    show_changed(done.route, done.before, wait_s, as_json=as_json)
    default = done.model["default_version"]
    if done.before is None and not as_json and default not in {None, version}:
        click.echo(f"back: penstock route switch {model} {default}")


async def warm(gateway: GatewayClient, model: str, version: str, workers: int) -> Document:
    """The model, once so many workers serve the version. Raises `ClickException` where none ever will by itself."""
    waiting, tell = patience(), telling()
    while True:
        found = await waiting.until_done(lambda: read(gateway, f"/v1/models/{model}", Model))
        said = next((each for each in found["version_states"] if each["version"] == version), None)
        if said is not None and (said.get("workers") or 0) >= workers:
            return found
        tell(_awaited(f"{model}/{version}", said, workers))
        await asyncio.sleep(LOOK_EVERY_S)


def _awaited(name: str, said: Document | None, workers: int) -> str:
    """What is waited for. Raises `ClickException` for a version that only a person can put right."""
    state = None if said is None else said["state"]
    if said is not None and state == "refused":
        raise click.ClickException(f"{name} could not be loaded: {printable(said['reason'] or 'no reason is told')}")
    if state == "unloaded":
        raise click.ClickException(f"{name} is unloaded: penstock models load {name.replace('/', ' ')}")
    if said is None:
        return f"no worker has announced {name} yet"
    return f"{name} is {state}, with {said.get('workers') or 0} of {workers} workers"


def all_to(version: str, before: Document | None) -> Document:
    """The route by which all jobs get the version: that is `stable` then, and no canary, nor a shadow of itself."""
    route = {} if before is None else wanted(before)
    labels = {label: named for label, named in route.get("labels", {}).items() if (label, named) != (CANARY, version)}
    shadow = [each for each in route.get("shadow", ()) if each["version"] != version]
    return route | {
        "versions": {version: WHOLE},
        "default": version,
        "labels": labels | {STABLE: version},
        "shadow": shadow,
    }
