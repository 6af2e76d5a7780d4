"""`python -m tests.acceptance.routing`: how soon a change of a route holds everywhere, under load."""

import asyncio
import os
import tempfile
from collections import Counter
from pathlib import Path

import click

from schemas.topics import Topics
from tests.acceptance.opening import heard
from tests.acceptance.processor import load_average
from tests.acceptance.routing.changing import Run, run_changes
from tests.acceptance.routing.witness import write_witness


@click.command()
@click.option("--changes", type=click.IntRange(1), default=100, show_default=True)
@click.option("--per-s", type=click.FloatRange(1), default=50, show_default=True, help="Jobs a second, by each way.")
@click.option("--pause", "pause_s", type=click.FloatRange(0), default=0.2, show_default=True, help="Between changes.")
def main(changes: int, per_s: float, pause_s: float) -> None:
    """Change a route under load, with two gateways and a router; say how long jobs still went by the old revision."""
    click.echo(load_average())
    with tempfile.TemporaryDirectory(prefix="penstock-routing-") as directory:
        run = asyncio.run(changed(Path(directory), changes, per_s, pause_s))
    ways = Counter("kafka" if sent.over == "kafka" else "http" for sent in run.sent)
    late_s = sorted(run.last_by_the_old_s())
    everywhere_s = sorted(each.everywhere_s - each.asked_s for each in run.changes)
    wrong = [each for each in run.served.values() if each.named != each.served_by or each.status != "succeeded"]
    click.echo(f"{len(run.sent)} jobs ({ways['http']} over HTTP, {ways['kafka']} over Kafka), {changes} changes")
    click.echo(f"last job by the old revision, after the PUT was sent: {quantiles(late_s)}")
    click.echo(f"every gateway and router has it: {quantiles(everywhere_s)}")
    click.echo(f"not served, or by another version than its headers name: {len(wrong)}")
    click.echo(f"by an older revision than all were said to have: {len(run.stale())}")


async def changed(directory: Path, changes: int, per_s: float, pause_s: float) -> Run:
    environ = os.environ | {"PENSTOCK_TOPIC_PREFIX": "penstock"}
    models = write_witness(directory)
    async with heard(models=models, gateways=2, environ=environ) as stack:
        return await run_changes(stack, Topics("penstock"), changes=changes, per_s=per_s, pause_s=pause_s)


def quantiles(seconds: list[float]) -> str:
    def at(share: float) -> str:
        return f"{1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]:.0f} ms"

    return f"p50 {at(0.5)}, p99 {at(0.99)}, most {at(1)}"


if __name__ == "__main__":
    main()
