"""`penstock hold`, with `hold list` and `hold log`."""

from datetime import datetime
from typing import Any, Final

import click

from penstock.asking import ask, each_of
from penstock.documents import AuditEntries, Document
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient
from penstock.help import examples
from penstock.holds.asking import FILTERS, add, all_holds, count, jobs, means_jobs, meant, waiting_jobs, wanted
from penstock.parameters import LIMIT, confirm
from penstock.plain import printable
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, ago, show_json, show_table
from runtime.clock import now_utc

LIST_TITLES: Final = ("HOLD", "ACTION", "JOBS OF", "BY", "SINCE", "REASON")
LOG_TITLES: Final = ("WHEN", "VERB", "HOLD", "JOBS OF", "BY", "WAITED", "NOTE")


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "penstock hold --model digits --reason 'bad labels'",
        "penstock hold --tenant acme --lane bulk --dry-run",
        "penstock hold --model digits --version 2 --refuse",
        reads=GATEWAY_URL,
    ),
)
@click.option("--refuse", is_flag=True, help="Take no new ones; those that wait go on.")
@means_jobs
@JSON
@asks_gateway
@click.pass_context
def hold(
    ctx: click.Context, /, found: Found, *, refuse: bool, dry_run: bool, yes: bool, as_json: bool, **given: Any
) -> None:
    """Hold jobs: those that wait, and new ones, do not begin until they are released.

    What runs runs on, and deadlines go on: what is held too long fails. Every gateway, router and worker goes by it
    within a second.
    """
    if ctx.invoked_subcommand is not None:
        if any(given[name] for name in (*FILTERS, "reason")) or refuse or dry_run or yes or as_json:
            raise click.UsageError(f"`hold {ctx.invoked_subcommand}` takes its options behind its name")
        return
    body = wanted("refuse" if refuse else "hold", given)
    waiting = count(found, body)
    if dry_run:
        show_count(waiting, body, as_json=as_json)
        return
    if not refuse:
        confirm(f"hold {jobs(waiting)} of {meant(body)}?", waiting, yes=yes)
    done = add(found, body)
    if as_json:
        show_json(done)
        return
    told = f"no new jobs of {meant(done)} are taken" if refuse else f"jobs of {meant(done)} wait: {done['matched']} now"
    click.echo(printable(f"{done['id']}: {told}"))
    click.echo(printable(f"back: penstock release {done['id']}"))


def show_count(waiting: int, body: Document, *, as_json: bool) -> None:
    if as_json:
        show_json({"matched": waiting})
    else:
        click.echo(printable(f"{meant(body)}: {waiting_jobs(waiting)}"))


@hold.command("list", epilog=examples("penstock hold list --json | jq -r .id", reads=GATEWAY_URL))
@JSON
@asks_gateway
def list_holds(found: Found, *, as_json: bool) -> None:
    """List the holds that stand, the oldest first."""
    holds, now = ask(found, all_holds), now_utc()
    if as_json:
        for each in holds:
            show_json(each)
    elif holds:
        show_table(LIST_TITLES, [row(each, now) for each in holds])
    else:
        click.echo("no holds", err=True)


def row(hold: Document, now: datetime) -> tuple[str, ...]:
    since = f"{ago(datetime.fromisoformat(hold['created_at']), now)} ago"
    return hold["id"], hold["action"], meant(hold), hold["created_by"], since, hold["reason"]


@hold.command("log", epilog=examples("penstock hold log --limit 5", reads=GATEWAY_URL))
@LIMIT
@JSON
@asks_gateway
def log(found: Found, limit: int, *, as_json: bool) -> None:
    """List who held and released what, when and why, newest first. It is kept for a year."""

    async def listed(gateway: GatewayClient) -> list[Document]:
        return [entry async for entry in each_of(gateway, "/v1/audit", AuditEntries, {}, limit)]

    entries, now = ask(found, listed), now_utc()
    if as_json:
        for entry in entries:
            show_json(entry)
    elif entries:
        show_table(LOG_TITLES, [log_row(entry, now) for entry in entries], right=["WAITED"])
    else:
        click.echo("nothing was ever held", err=True)


def log_row(entry: Document, now: datetime) -> tuple[str, ...]:
    hold = entry["hold"]
    when = f"{ago(datetime.fromisoformat(entry['at']), now)} ago"
    return when, entry["verb"], hold["id"], meant(hold), entry["by"], str(entry["matched"]), entry["note"]
