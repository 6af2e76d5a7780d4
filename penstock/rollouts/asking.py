"""Rollouts, asked of a gateway."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from penstock.asking import WAITED_TOO_LONG, patience, read
from penstock.documents import Document, Rollout, Rollouts
from penstock.gateway_client import GatewayClient
from penstock.rollouts.rendering import progress
from schemas.names import is_model_name
from schemas.rollouts import ID_PREFIX, OPEN, RolloutStatus

LOOK_EVERY_S: Final = 1.0
_OPEN_FIRST: Final[Sequence[Mapping[str, str]]] = (
    {"status": RolloutStatus.RUNNING},
    {"status": RolloutStatus.PAUSED},
    {},
)


class Named(click.ParamType):
    """A rollout's id, or the name of its model."""

    name = "rollout"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not is_id(text) and not is_model_name(text):
            self.fail(f"{value!r} is neither a rollout's id nor a model's name", param, ctx)
        return text


ROLLOUT: Final = click.argument("rollout", type=Named())
TIMEOUT: Final = click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds to wait at most.")


def is_id(text: str) -> bool:
    return text.startswith(ID_PREFIX) and text.removeprefix(ID_PREFIX).isalnum() and text.isascii()


async def id_of(gateway: GatewayClient, named: str) -> str:
    """Of a model's rollouts the open one, which need not be the newest: an older one may have been retried.

    Raises `ClickException` where the model has none, `PenstockError`.
    """
    if is_id(named):
        return named
    for asked in _OPEN_FIRST:
        params = {"model": named, "limit": "1", **asked}
        found = (await read(gateway, "/v1/rollouts", Rollouts, params))["data"]
        if found:
            return str(found[0]["id"])
    raise click.ClickException(f"model {named!r} has no rollout: penstock rollout start {named} VERSION")


async def rollout_of(gateway: GatewayClient, named: str) -> Document:
    return await read(gateway, f"/v1/rollouts/{await id_of(gateway, named)}", Rollout)


async def ended(gateway: GatewayClient, rollout_id: str, tell: Callable[[str], None]) -> Document:
    """The rollout once it has ended; what happens until then is told line by line. Raises `PenstockError`, and what
    `Patience` does."""
    told = 0
    while True:
        found = await patience().until_done(lambda: read(gateway, f"/v1/rollouts/{rollout_id}", Rollout))
        for event in reversed(found.get("events") or ()):
            if event["sequence"] > told:
                tell(progress(found, event))
                told = event["sequence"]
        if found["status"] not in OPEN:
            return found
        await asyncio.sleep(LOOK_EVERY_S)


async def ended_in_time(
    gateway: GatewayClient, rollout_id: str, timeout_s: float | None, tell: Callable[[str], None]
) -> Document | None:
    """None where time was up first."""
    try:
        async with asyncio.timeout(timeout_s):
            return await ended(gateway, rollout_id, tell)
    except TimeoutError:
        return None


def end_with(found: Document | None, named: str, timeout_s: float | None) -> None:
    """Exits with 0 where the rollout was promoted, with 1 where it was not, with 124 where time was up."""
    if found is None:
        click.echo(f"Error: {named} has not ended within {timeout_s:g} s", err=True)
        raise SystemExit(WAITED_TOO_LONG)
    if found["status"] != RolloutStatus.PROMOTED:
        raise SystemExit(1)


def tell(line: str) -> None:
    """Beside the answer: to a person who waits."""
    click.echo(line, err=True)
