"""Holds, asked of a gateway and changed by it; which jobs are meant, as options."""

from collections.abc import Sequence
from typing import Any, Final

import click

from penstock.asking import ask, noted, read, send
from penstock.documents import Document, Hold, HoldCount, Holds
from penstock.gateway_client import GatewayClient
from penstock.parameters import CONFIRM_ABOVE, MODEL, TEXT, VERSION, Command, Name, with_options
from penstock.running import Found
from schemas.names import is_hold_id
from schemas.topics import LaneClass
from stores.holds import MOST_COUNTED

PATH: Final = "/v1/holds"
FILTERS: Final = ("model", "version", "tenant", "lane")

HOLD: Final = Name("hold", is_hold_id, "is no hold's id")
YES: Final = click.option(
    "--yes", is_flag=True, help=f"Do not ask, however many jobs wait (asked above {CONFIRM_ABOVE})."
)
DRY_RUN: Final = click.option("--dry-run", is_flag=True, help="Only count the jobs that wait, and change nothing.")
_MEANT: Final = (
    click.option("--model", type=MODEL, help="Jobs of this model."),
    click.option("--version", type=VERSION, help="Of this version of it."),
    click.option("--tenant", type=TEXT, help="Of this tenant."),
    click.option("--lane", type=click.Choice([str(lane) for lane in LaneClass]), help="Of such lanes."),
    click.option("--reason", type=TEXT, help="Why: shown with the jobs, and kept in the audit log."),
    DRY_RUN,
    YES,
)


def means_jobs(command: Command) -> Command:
    """A command that gets which jobs are meant."""
    return with_options(command, _MEANT)


def wanted(action: str, given: dict[str, Any]) -> Document:
    """The request. Raises `UsageError` where no jobs are meant."""
    named = {name: given[name] for name in FILTERS if given[name] is not None}
    if not named:
        raise click.UsageError("which jobs are meant: give --model, --version, --tenant or --lane")
    if "version" in named and "model" not in named:
        raise click.UsageError("--version needs its --model")
    return {"action": action, **named, **({"reason": given["reason"]} if given["reason"] else {})}


def count(found: Found, body: Document) -> int:
    """How many jobs wait that are meant."""

    async def counted(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", PATH, HoldCount, body, {"dry_run": "true"})

    return int(ask(found, counted)["matched"])


def add(found: Found, body: Document) -> Document:
    async def added(gateway: GatewayClient) -> Document:
        return await send(gateway, "POST", PATH, Hold, body)

    return ask(found, added)


async def hold_of(gateway: GatewayClient, hold_id: str) -> Document:
    """With how many jobs wait that it is about. Raises `PenstockError`."""
    return await read(gateway, f"{PATH}/{hold_id}", Hold)


async def released(gateway: GatewayClient, hold_id: str, note: str | None) -> Document:
    return await send(gateway, "DELETE", f"{PATH}/{hold_id}", Hold, params=noted(note))


async def all_holds(gateway: GatewayClient) -> list[Document]:
    """They come on one page."""
    holds: list[Document] = (await read(gateway, PATH, Holds))["data"]
    return holds


def meant(hold: Document) -> str:
    """As a person reads it: `model digits, tenant acme`."""
    return ", ".join(f"{name} {hold[name]}" for name in FILTERS if hold.get(name) is not None)


def jobs(number: int) -> str:
    """`1 job`, `7 jobs`, `100000 jobs or more`."""
    if number >= MOST_COUNTED:
        return f"{MOST_COUNTED} jobs or more"
    return f"{number} job" if number == 1 else f"{number} jobs"


def waiting_jobs(number: int) -> str:
    """`1 job waits`, `7 jobs wait`."""
    return f"{jobs(number)} {'waits' if number == 1 else 'wait'}"


def left_of(holds: Sequence[Document]) -> int:
    return sum(int(hold.get("waiting") or 0) for hold in holds)
