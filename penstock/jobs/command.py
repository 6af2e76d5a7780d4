"""The options of `penstock jobs`."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

import click

from penstock.asking import WAITED_TOO_LONG, ask, document, each_of, patience, read
from penstock.canceling import cancel_each
from penstock.documents import Document, Job, Jobs
from penstock.finding import asks_gateway
from penstock.gateway_client import GatewayClient, job_once_ended
from penstock.help import examples
from penstock.jobs.rendering import TITLES, facts, row
from penstock.parameters import JOB, LIMIT, MODEL
from penstock.results_shown import show_result
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_facts, show_json, show_table
from runtime.clock import now_utc
from schemas.jobs import Status

ids: Final = click.argument("ids", nargs=-1, required=True, type=JOB, metavar="ID...")


@click.group(
    epilog=examples(
        "penstock jobs list --status failed",
        "penstock jobs wait job_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2b3c4 --timeout 60",
        reads=GATEWAY_URL,
    )
)
def jobs() -> None:
    """List jobs, read, await and cancel them.

    Of a running `penstock up`, or of the gateway that --gateway names.
    """


@jobs.command("list", epilog=examples("penstock jobs list --model digits --status failed --json", reads=GATEWAY_URL))
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only jobs in this state.")
@click.option("--model", type=MODEL, help="Only jobs of this model.")
@LIMIT
@click.option("--all", "every", is_flag=True, help="All of them, whatever --limit says.")
@JSON
@asks_gateway
def list_jobs(found: Found, status: str | None, model: str | None, limit: int, *, every: bool, as_json: bool) -> None:
    """List jobs, newest first, without their results."""
    params = {name: value for name, value in (("status", status), ("model", model)) if value}
    wanted = sys.maxsize if every else limit

    async def listed(gateway: GatewayClient) -> tuple[int, list[tuple[str, ...]]]:
        count, rows, now = 0, [], now_utc()
        async for job in each_of(gateway, "/v1/jobs", Jobs, params, wanted + (wanted < sys.maxsize)):
            count += 1
            if count > wanted:
                break
            if as_json:
                show_json(job)
            else:
                rows.append(row(job, now))
        return count, rows

    count, rows = ask(found, listed)
    if rows:
        show_table(TITLES, rows)
    if not count:
        click.echo("no jobs", err=True)
    elif count > wanted:
        click.echo("there are more: raise --limit, or give --all", err=True)


@jobs.command(epilog=examples("penstock jobs get job_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2b3c4", reads=GATEWAY_URL))
@ids
@JSON
@asks_gateway
def get(found: Found, ids: Sequence[str], *, as_json: bool) -> None:
    """Show jobs as they are, with their results."""

    async def shown(gateway: GatewayClient) -> None:
        for number, job_id in enumerate(ids):
            _show(await read(gateway, f"/v1/jobs/{job_id}", Job), first=number == 0, as_json=as_json)

    ask(found, shown)


@jobs.command(epilog=examples("penstock jobs wait $ID --timeout 60 --json | jq .result", reads=GATEWAY_URL))
@ids
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds to wait at most, for all of them.")
@JSON
@asks_gateway
def wait(found: Found, ids: Sequence[str], timeout_s: float | None, *, as_json: bool) -> None:
    """Wait until jobs have ended, and show them.

    Exits with 0 if all succeeded, with 1 if one failed or was canceled, with 124 when time is up.
    """
    statuses = set[str]()

    async def waited(gateway: GatewayClient) -> None:
        async with asyncio.timeout(timeout_s):
            for job_id in ids:
                job = document((await job_once_ended(gateway, job_id, patience())).content, Job)
                _show(job, first=not statuses, as_json=as_json)
                statuses.add(job["status"])

    try:
        ask(found, waited)
    except TimeoutError:
        click.echo(f"Error: not all jobs have ended within {timeout_s:g} s", err=True)
        raise SystemExit(WAITED_TOO_LONG) from None
    if statuses != {Status.SUCCEEDED}:
        raise SystemExit(1)


@jobs.command(epilog=examples("penstock jobs cancel job_0199f0a7b3c1d2e4f5a6b7c8d9e0f1a2b3c4", reads=GATEWAY_URL))
@ids
@JSON
@asks_gateway
def cancel(found: Found, ids: Sequence[str], *, as_json: bool) -> None:
    """Cancel jobs that have not ended; one that has stays as it is.

    Exits with 1 if one had ended otherwise.
    """

    cancel_each(found, "jobs", ids, Job, {Status.CANCELED}, as_json=as_json)


def _show(job: Document, *, first: bool, as_json: bool) -> None:
    if as_json:
        show_json(job)
        return
    if not first:
        click.echo()
    show_facts(facts(job, now_utc()))
    if job["result"] is not None:
        click.echo()
        show_result(job["result"])
