"""Routes, asked of a gateway and changed by it."""

from typing import Any, Final

import click
import msgspec

from penstock.asking import Document, document
from penstock.documents import Route
from penstock.gateway_client import GatewayClient
from penstock.parameters import TEXT
from penstock.plain import printable
from penstock.routes.rendering import shares_text, who_has
from penstock.showing import show_json
from schemas.errors import Refused, RouteNotFound

WAIT_S: Final = 10

NOTE: Final = click.option("--note", type=TEXT, help="Why, for the history.")
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
        return document((await gateway.exchange("GET", f"/v1/routes/{model}")).content, Route)
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
    gateway: GatewayClient, model: str, route: Document, expected: int | None, note: str | None, wait_s: int
) -> Document:
    """Replace the revision that is `expected`; None creates the route. Raises `PenstockError`."""
    headers = _headers(expected, wait_s) | {"content-type": "application/json"}
    answer = await gateway.exchange(
        "PUT",
        f"/v1/routes/{model}",
        headers=headers,
        params=_params(note),
        body=msgspec.json.encode(route),
        wait_s=wait_s,
    )
    return document(answer.content, Route)


async def change(
    gateway: GatewayClient,
    method: str,
    path: str,
    shape: type[msgspec.Struct],
    expected: int | None,
    note: str | None,
    wait_s: int,
    body: bytes | None = None,
) -> Document:
    """Another change of a route. Raises `PenstockError`."""
    headers, params = _headers(expected, wait_s), _params(note)
    answer = await gateway.exchange(method, path, headers=headers, params=params, body=body, wait_s=wait_s)
    return document(answer.content, shape)


def show_changed(changed: Document, before: Document | None, wait_s: int, *, as_json: bool) -> None:
    """What a route is now, whether all have it, and the way back."""
    if as_json:
        show_json(changed)
        return
    now = f"{changed['model']} is at revision {changed['revision']}: {shares_text(changed)}{who_has(changed, wait_s)}"
    click.echo(printable(now))
    if before is not None:
        click.echo(printable(f"back: penstock route rollback {changed['model']} {before['revision']}"))


def _headers(expected: int | None, wait_s: int) -> dict[str, str]:
    headers = {} if expected is None else {"if-match": f'"{expected}"'}
    return headers | ({"prefer": f"wait={wait_s}"} if wait_s else {})


def _params(note: str | None) -> dict[str, str]:
    return {"note": note} if note else {}


def as_json_object(text: bytes, hint: str) -> Document:
    """Raises `BadParameter` for what is no JSON object."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.BadParameter(f"is no JSON object: {error}", param_hint=hint) from error
    return found
