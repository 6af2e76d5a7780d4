"""The commands of `penstock route` that change nothing."""

import sys

import click

from penstock.asking import ask, each_of, read
from penstock.documents import Document, Route, RouteHistory, Routes
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import LIMIT, MODEL
from penstock.plain import printable
from penstock.routes.rendering import (
    HISTORY_TITLES,
    LIST_TITLES,
    NUMBERS,
    REPLICA_TITLES,
    SHARE_TITLES,
    facts,
    history_row,
    list_row,
    replica_rows,
    share_rows,
)
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_facts, show_json, show_table
from runtime.clock import now_utc


@click.command(epilog=examples("penstock route show digits", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@JSON
@asks_gateway
def show(found: Found, model: str, *, as_json: bool) -> None:
    """Show how MODEL's jobs split among its versions, and which revision each gateway and router goes by."""

    async def shown(gateway: GatewayClient) -> Document:
        return await read(gateway, f"/v1/routes/{model}", Route)

    route = ask(found, shown)
    if as_json:
        show_json(route)
        return
    show_facts(facts(route, now_utc()))
    click.echo()
    show_table(SHARE_TITLES, share_rows(route), right=NUMBERS)
    if rows := replica_rows(route):
        click.echo()
        show_table(REPLICA_TITLES, rows, right=NUMBERS)
    elif reason := route.get("replicas_reason"):
        click.echo(f"which gateways and routers have it is not known: {printable(reason)}", err=True)


@click.command("list", epilog=examples("penstock route list --json | jq .model", reads=GATEWAY_URL))
@JSON
@asks_gateway
def list_routes(found: Found, *, as_json: bool) -> None:
    """List the routes of all models. A model without one is not listed: its jobs get its default version."""

    async def listed(gateway: GatewayClient) -> list[Document]:
        return [route async for route in each_of(gateway, "/v1/routes", Routes, {}, sys.maxsize)]

    routes, now = ask(found, listed), now_utc()
    if as_json:
        for route in routes:
            show_json(route)
    elif routes:
        show_table(LIST_TITLES, [list_row(route, now) for route in routes], right=NUMBERS)
    else:
        click.echo("no routes", err=True)


@click.command(epilog=examples("penstock route history digits --limit 5", reads=GATEWAY_URL))
@click.argument("model", type=MODEL)
@LIMIT
@JSON
@asks_gateway
def history(found: Found, model: str, limit: int, *, as_json: bool) -> None:
    """List the revisions of MODEL's route, newest first: who changed what, when and why."""

    async def listed(gateway: GatewayClient) -> list[Document]:
        pages = each_of(gateway, f"/v1/routes/{model}/history", RouteHistory, {}, limit)
        return [revision async for revision in pages]

    revisions, now = ask(found, listed), now_utc()
    if as_json:
        for revision in revisions:
            show_json(revision)
    else:
        show_table(HISTORY_TITLES, [history_row(revision, now) for revision in revisions], right=NUMBERS)
