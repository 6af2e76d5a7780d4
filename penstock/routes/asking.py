"""Routes, asked of a gateway and changed by it."""

from collections.abc import Mapping
from typing import Any, Final

import click
import msgspec

from penstock.asking import noted, read, send
from penstock.documents import Document, Route
from penstock.gateway_client import GatewayClient
from penstock.plain import printable
from penstock.routes.rendering import shares_text, who_has
from penstock.showing import show_json
from producers.bulk.lines import UNREADABLE
from schemas.errors import Refused, RouteNotFound

WAIT_S: Final = 10

WAIT: Final = click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(0, 60),
    default=WAIT_S,
    show_default=True,
    help="Seconds to wait at most until every gateway and router goes by it.",
)
IF_REVISION: Final = click.option(
    "--if-revision", type=click.IntRange(min=1), help="Only if the route is at this revision still."
)
# What the server says of a route, and nobody asks for.
_SAID: Final = frozenset(
    ["object", "model", "revision", "rollout", "updated_at", "updated_by", "note", "replicas", "replicas_reason"]
)


async def route_of(gateway: GatewayClient, model: str) -> Document | None:
    """None where the model has no route. Raises `PenstockError`."""
    try:
        return await read(gateway, f"/v1/routes/{model}", Route)
    except Refused as error:
        if error.body().code == RouteNotFound.code:
            return None
        raise


def revision_of(route: Document | None) -> int | None:
    return None if route is None else int(route["revision"])


def wanted(route: Document) -> Document:
    """The members of a route that can be asked for."""
    return {name: value for name, value in route.items() if name not in _SAID}


async def put_route(
    gateway: GatewayClient,
    model: str,
    route: Document,
    expected: int | None,
    note: str | None,
    wait_s: int,
    *,
    other_inputs: bool = False,
) -> Document:
    """Replace the revision that is `expected`; None creates the route. Raises `PenstockError`."""
    query = {"other_inputs": "true"} if other_inputs else None
    return await change(gateway, "PUT", f"/v1/routes/{model}", Route, expected, note, wait_s, route, query)


async def change(
    gateway: GatewayClient,
    method: str,
    path: str,
    shape: type[msgspec.Struct],
    expected: int | None,
    note: str | None,
    wait_s: int,
    body: Document | None = None,
    query: Mapping[str, str] | None = None,
) -> Document:
    """What a request that changes a route is answered with. Raises `PenstockError`."""
    headers = {} if expected is None else {"if-match": f'"{expected}"'}
    if wait_s:
        headers["prefer"] = f"wait={wait_s}"
    params = {**noted(note), **(query or {})}
    return await send(gateway, method, path, shape, body, params, headers=headers, wait_s=wait_s)


def show_changed(changed: Document, before: Document | None, wait_s: int, *, as_json: bool) -> None:
    """What a route is now, whether all have it, and the way back."""
    if as_json:
        show_json(changed)
        return
    now = f"{changed['model']} is at revision {changed['revision']}: {shares_text(changed)}{who_has(changed, wait_s)}"
    click.echo(printable(now))
    show_way_back(changed["model"], before)


def show_way_back(model: str, before: Document | None) -> None:
    """Nothing where there was no route before."""
    if before is not None:
        click.echo(printable(f"back: penstock route rollback {model} {before['revision']}"))


def as_json_object(text: bytes, hint: str) -> Document:
    """Raises `BadParameter` for what is no JSON object."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except UNREADABLE as error:
        raise click.BadParameter(f"is no JSON object: {error}", param_hint=hint) from error
