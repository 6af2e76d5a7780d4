"""`make chaos`: a stack of its own, killed piece by piece under load. Exits with 1 for a loss."""

import asyncio
import os
import secrets
import tempfile
from pathlib import Path

import click
import uvloop

from tests.acceptance.chaos.faults import rules_for, schedule
from tests.acceptance.chaos.report import table
from tests.acceptance.chaos.running import Plan, Report, run
from tests.acceptance.opening import heard
from tests.acceptance.processor import load_average
from tests.acceptance.repository import write_repository
from tests.acceptance.role_logs import LOGS

# The model that is asked for, and nothing else: 12 partitions of each topic, and who was killed is missed soon.
ENVIRONMENT = {
    "PENSTOCK_TOPIC_PREFIX": "penstock",
    "PENSTOCK_TOPIC_PARTITIONS": "12",
    "PENSTOCK_LANE_PARTITIONS": "12",
    "PENSTOCK_WORKER_MODELS": "tickets/1",
    "PENSTOCK_KAFKA_SESSION_TIMEOUT_S": "6",
}

# Half of what a processor takes while all is well: roles that start again need much of it.
PER_S_A_PROCESSOR = 100


@click.command()
@click.option("--jobs", type=click.IntRange(1), default=50_000, show_default=True)
@click.option(
    "--per-s",
    type=click.FloatRange(1),
    default=PER_S_A_PROCESSOR * (os.cpu_count() or 1),
    show_default=True,
    help=f"Jobs that arrive in a second; {PER_S_A_PROCESSOR} a processor unless told.",
)
@click.option("--workers", type=click.IntRange(2), default=4, show_default=True)
@click.option("--gateways", type=click.IntRange(1), default=2, show_default=True)
@click.option("--seed", type=int, help="Of the faults; the same seed, the same schedule.  [default: by chance]")
def main(jobs: int, per_s: float, workers: int, gateways: int, seed: int | None) -> None:
    """Lose nothing and show nothing twice, while everything is killed, stopped and started again."""
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {chosen} (again: --seed {chosen}); {load_average()}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # a quarter cheaper for the clients
        report = runner.run(suffer(jobs, per_s, workers, gateways, chosen))
    click.echo(table(report))
    click.echo(load_average())
    if not report.kept:
        click.echo(LOGS.since(0), err=True)
        raise SystemExit(1)


async def suffer(jobs: int, per_s: float, workers: int, gateways: int, seed: int) -> Report:
    with tempfile.TemporaryDirectory(prefix="penstock-chaos-") as directory:
        models = write_repository(Path(directory))
        environ = os.environ | ENVIRONMENT
        async with heard(models=models, workers=workers, gateways=gateways, environ=environ) as stack:
            plan = Plan(jobs, per_s, schedule(seed, jobs / per_s, rules_for(stack.roles)))
            return await run(stack, plan, click.echo)


if __name__ == "__main__":
    main()
