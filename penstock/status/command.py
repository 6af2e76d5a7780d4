"""The options of `penstock status`."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec
from rich.text import Text

from penstock.addresses import without_password
from penstock.documents import Hold, WebhookEndpoint
from penstock.finding import asks_gateway
from penstock.help import examples
from penstock.holds.asking import meant
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, ago, show, show_facts, show_json, show_table
from penstock.status.judging import Problem, problems
from penstock.status.reading import Role, Survey, Version, survey
from runtime.clock import now_utc

ROLE_TITLES: Final = ("ROLE", "STATE", "HEALTH AND METRICS")
HOLD_TITLES: Final = ("HOLD", "ACTION", "JOBS OF", "REASON")
WEBHOOK_TITLES: Final = ("WEBHOOK", "STATE", "HELD", "GOES TO", "REASON")
VERSION_TITLES: Final = ("MODEL", "VERSION", "STATE", "LIVE", "BULK", "REASON")


@click.command(epilog=examples("penstock status", "penstock status --json | jq .problems", reads=GATEWAY_URL))
@JSON
@asks_gateway
def status(found: Found, *, as_json: bool) -> None:
    """Show what runs: roles, model versions, and how many jobs wait in their lanes. What is wrong comes first.

    Of a running `penstock up` all roles are asked, of any other stack the gateway alone. Exits with 1 if something is
    wrong; endpoints of webhooks that are degraded or disabled are shown, and are nothing that is wrong here.
    """
    seen = asyncio.run(survey(found))
    wrong = problems(seen)
    if as_json:
        show_json(as_document(found, seen, wrong))
    else:
        _show(found, seen, wrong)
    if wrong:
        raise SystemExit(1)


def as_document(found: Found, seen: Survey, wrong: Sequence[Problem]) -> dict[str, Any]:
    running = found.running
    return {
        "ok": not wrong,
        "problems": msgspec.to_builtins(wrong),
        "gateway_url": without_password(found.gateway_url),
        "data_dir": running.data_dir if running else None,
        "logs": running.logs if running else None,
        "pid": running.pid if running else None,
        "started_at": running.started_at if running else None,
        **msgspec.to_builtins(seen),
    }


def _show(found: Found, seen: Survey, wrong: Sequence[Problem]) -> None:
    if wrong:
        click.echo("not right:")
        show(*(Text(f"  {printable(each.what)} {printable(each.message)}", style="red") for each in wrong))
        if not found.running:
            click.echo(found.origin.removeprefix("; "))
        click.echo()
    show_facts(_facts(found))
    click.echo()
    show_table(ROLE_TITLES, [_role_row(role) for role in seen.roles])
    if seen.versions:
        click.echo()
        show_table(VERSION_TITLES, [_version_row(each) for each in seen.versions], right=["LIVE", "BULK"])
    if seen.holds:
        click.echo()
        show_table(HOLD_TITLES, [_hold_row(each) for each in seen.holds])
    if seen.webhooks:
        click.echo()
        show_table(WEBHOOK_TITLES, [_webhook_row(each) for each in seen.webhooks], right=["HELD"])


def _hold_row(hold: Hold) -> tuple[str, ...]:
    return hold.id, hold.action, meant(msgspec.structs.asdict(hold)), hold.reason


def _webhook_row(each: WebhookEndpoint) -> tuple[str, ...]:
    return each.id, each.status, str(each.held), each.url or each.mode, each.status_reason or ""


def _facts(found: Found) -> dict[str, str]:
    running = found.running
    if running is None:
        return {"gateway": without_password(found.gateway_url)}
    return {
        "gateway": without_password(found.gateway_url),
        "up": f"pid {running.pid}, since {ago(running.started_at, now_utc())}",
        "data": running.data_dir,
        "logs": running.logs,
    }


def _role_row(role: Role) -> tuple[str, ...]:
    return role.name, role.state, role.url


def _version_row(each: Version) -> tuple[str, ...]:
    default = " (default)" if each.default else ""
    waiting = ("" if records is None else str(records) for records in (each.live_records, each.bulk_records))
    return each.model, f"{each.version}{default}", each.state, *waiting, each.reason or ""
