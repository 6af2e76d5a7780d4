"""`penstock drain`."""

import asyncio
from typing import Any, Final

import click

from penstock.asking import WAITED_TOO_LONG, ask, patience
from penstock.documents import Document
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.holds.asking import add, count, hold_of, jobs, left_of, means_jobs, meant, wanted
from penstock.holds.command import show_count
from penstock.parameters import confirm
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json

LOOK_EVERY_S: Final = 0.5


@click.command(
    epilog=examples(
        "penstock drain --model digits --version 1 --dry-run",
        "penstock drain --tenant acme --lane bulk --reason 'asked for it' --wait",
        reads=GATEWAY_URL,
    )
)
@means_jobs
@click.option("--wait", is_flag=True, help="Until none of them is left that waits.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds to wait at most.")
@JSON
@asks_gateway
def drain(
    found: Found, *, dry_run: bool, yes: bool, wait: bool, timeout_s: float | None, as_json: bool, **given: Any
) -> None:
    """End the jobs that wait now, as canceled. What runs runs on, and new jobs are taken.

    With --wait exits with 124 when time is up.
    """
    body = wanted("end", given)
    waiting = count(found, body)
    if dry_run:
        show_count(waiting, body, as_json=as_json)
        return
    confirm(f"end {jobs(waiting)} of {meant(body)}?", waiting, yes=yes)
    hold = add(found, body)
    if not as_json:
        click.echo(printable(f"{hold['id']}: {jobs(hold['matched'])} of {meant(hold)} end"))
    left = 0
    if wait:
        hold = ask(found, lambda gateway: drained(gateway, hold["id"], timeout_s))
        left = left_of([hold])
    if as_json:
        show_json(hold)
    if left:
        click.echo(f"Error: {jobs(left)} still wait after {timeout_s:g} s", err=True)
        raise SystemExit(WAITED_TOO_LONG)


async def drained(gateway: GatewayClient, hold_id: str, timeout_s: float | None) -> Document:
    """The hold, once none is left or time is up."""
    loop = asyncio.get_running_loop()
    until_s = None if timeout_s is None else loop.time() + timeout_s
    told: int | None = None
    while True:
        hold = await patience().until_done(lambda: hold_of(gateway, hold_id))
        left = left_of([hold])
        if not left or (until_s is not None and loop.time() >= until_s):
            return hold
        if left != told:
            click.echo(f"{left} left", err=True)
            told = left
        await asyncio.sleep(LOOK_EVERY_S)
