"""`make soak`: a stack of its own, besieged by silent, slow and greedy clients beside honest ones."""

import asyncio
import os
import tempfile
from pathlib import Path

import click

from tests.acceptance.opening import heard
from tests.acceptance.processor import load_average
from tests.acceptance.repository import write_repository
from tests.acceptance.soak.hostile import KINDS, SPINNING
from tests.acceptance.soak.running import Report, Stage, run


@click.command()
@click.option("--seconds", type=click.FloatRange(2), default=60, show_default=True, help="Alone, and beside all kinds.")
@click.option("--per-s", type=click.FloatRange(1), default=50, show_default=True, help="Honest submits in a second.")
@click.argument("kinds", nargs=-1, type=click.Choice(sorted(KINDS)))
def main(seconds: float, per_s: float, kinds: tuple[str, ...]) -> None:
    """Say how honest clients fare beside all KINDS of hostile ones, or those named: together, and one by one for a
    quarter of the time. Before, for half of it, the same beside programs that take what processors others leave."""
    click.echo(load_average())
    click.echo(asyncio.run(soak(seconds, per_s, kinds or tuple(KINDS))).lines())


async def soak(seconds: float, per_s: float, kinds: tuple[str, ...]) -> Report:
    stages = [Stage(SPINNING, seconds / 2, [SPINNING]), Stage("all hostile", seconds, kinds)]
    if len(kinds) > 1:
        stages += [Stage(each, seconds / 4, [each]) for each in kinds]
    with tempfile.TemporaryDirectory(prefix="penstock-soak-") as directory:
        models = write_repository(Path(directory))
        environ = os.environ | {"PENSTOCK_TOPIC_PREFIX": "penstock", "PENSTOCK_GATEWAY_MAX_LANE_DEPTH": "10000000"}
        async with heard(models=models, environ=environ) as stack:
            return await run(stack.gateway_url, seconds=seconds, per_s=per_s, stages=stages)


if __name__ == "__main__":
    main()
