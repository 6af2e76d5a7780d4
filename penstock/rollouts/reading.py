"""The commands of `penstock rollout` that change nothing."""

import click

from penstock.asking import ask, each_of
from penstock.documents import Document, Rollouts
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.parameters import LIMIT, MODEL
from penstock.rollouts.asking import ROLLOUT, TIMEOUT, end_with, ended_in_time, id_of, rollout_of, tell
from penstock.rollouts.rendering import (
    EVENT_TITLES,
    FINDING_TITLES,
    LIST_TITLES,
    NUMBERS,
    changed,
    event_rows,
    facts,
    finding_rows,
    list_row,
)
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_facts, show_json, show_table
from runtime.clock import now_utc
from schemas.rollouts import RolloutStatus


@click.command(epilog=examples("penstock rollout show digits", reads=GATEWAY_URL))
@ROLLOUT
@JSON
@asks_gateway
def show(found: Found, rollout: str, *, as_json: bool) -> None:
    """Show how ROLLOUT stands: its share, what its guardrails find, and what happened."""

    async def shown(gateway: GatewayClient) -> Document:
        return await rollout_of(gateway, rollout)

    read = ask(found, shown)
    if as_json:
        show_json(read)
        return
    show_facts(facts(read, now_utc()))
    if rows := finding_rows(read["verdict"]):
        click.echo()
        show_table(FINDING_TITLES, rows)
    if events := event_rows(read.get("events") or []):
        click.echo()
        show_table(EVENT_TITLES, events, right=NUMBERS)


@click.command("list", epilog=examples("penstock rollout list --status running", reads=GATEWAY_URL))
@click.option("--model", type=MODEL, help="Only rollouts of this model.")
@click.option("--status", type=click.Choice([each.value for each in RolloutStatus]), help="Only those in this state.")
@LIMIT
@JSON
@asks_gateway
def list_rollouts(found: Found, model: str | None, status: str | None, limit: int, *, as_json: bool) -> None:
    """List rollouts, newest first. They are kept for a year after their end."""
    params = {name: value for name, value in (("model", model), ("status", status)) if value}

    async def listed(gateway: GatewayClient) -> list[Document]:
        return [rollout async for rollout in each_of(gateway, "/v1/rollouts", Rollouts, params, limit)]

    rollouts = ask(found, listed)
    if as_json:
        for rollout in rollouts:
            show_json(rollout)
    elif rollouts:
        show_table(LIST_TITLES, [list_row(rollout) for rollout in rollouts], right=NUMBERS)
    else:
        click.echo("no rollouts", err=True)


@click.command(epilog=examples("penstock rollout wait digits --timeout 3600 && echo good", reads=GATEWAY_URL))
@ROLLOUT
@TIMEOUT
@JSON
@asks_gateway
def wait(found: Found, rollout: str, timeout_s: float | None, *, as_json: bool) -> None:
    """Wait until ROLLOUT has ended, and tell what happens.

    Exits with 0 where it was promoted, with 1 where it was rolled back or aborted, with 124 when time is up.
    """

    async def waited(gateway: GatewayClient) -> Document | None:
        return await ended_in_time(gateway, await id_of(gateway, rollout), timeout_s, tell)

    end = ask(found, waited)
    if end is not None:
        if as_json:
            show_json(end)
        else:
            click.echo(changed(end))
    end_with(end, rollout, timeout_s)
