"""`make soak`: a stack of its own, besieged by silent, slow and greedy clients beside honest ones."""

import asyncio
import os
import tempfile
from pathlib import Path

import click

from penstock.stack import Stack
from tests.acceptance.repository import write_repository
from tests.acceptance.role_logs import LOGS
from tests.acceptance.soak.hostile import KINDS
from tests.acceptance.soak.running import Report, run


@click.command()
@click.option("--seconds", type=click.FloatRange(2), default=60, show_default=True)
@click.option("--per-s", type=click.FloatRange(1), default=50, show_default=True, help="Honest submits in a second.")
@click.argument("kinds", nargs=-1, type=click.Choice(sorted(KINDS)))
def main(seconds: float, per_s: float, kinds: tuple[str, ...]) -> None:
    """Say how honest clients fare beside all KINDS of hostile ones, or those named."""
    click.echo("load average {:.1f} {:.1f} {:.1f}".format(*os.getloadavg()))
    click.echo(asyncio.run(soak(seconds, per_s, kinds)).lines())


async def soak(seconds: float, per_s: float, kinds: tuple[str, ...]) -> Report:
    with tempfile.TemporaryDirectory(prefix="penstock-soak-") as directory:
        models = write_repository(Path(directory))
        environ = os.environ | {"PENSTOCK_TOPIC_PREFIX": "penstock", "PENSTOCK_GATEWAY_MAX_LANE_DEPTH": "10000000"}
        async with Stack(None, models=models, environ=environ, announce=LOGS.announce, on_line=LOGS.hear) as stack:
            return await run(stack.gateway_url, seconds=seconds, per_s=per_s, kinds=kinds)


if __name__ == "__main__":
    main()
