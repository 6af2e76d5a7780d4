"""`python -m tests.acceptance.webhooks`: a stack whose notifiers, sink and Postgres are killed while events are sent.
Exits with 1 where one does not arrive, or arrives under two ids."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click

from tests.acceptance.chaos.faults import schedule
from tests.acceptance.opening import heard
from tests.acceptance.processor import load_average
from tests.acceptance.repository import write_repository
from tests.acceptance.role_logs import LOGS
from tests.acceptance.webhooks.running import KEYS, Report, rules, run
from tests.waiting import eventually

ENVIRONMENT = {
    "PENSTOCK_TOPIC_PREFIX": "penstock",
    "PENSTOCK_WORKER_MODELS": "tickets/1",
    "PENSTOCK_WEBHOOK_ALLOW_PRIVATE": "true",
    "PENSTOCK_WEBHOOK_KEYS": KEYS,
}


@click.command()
@click.option("--deliveries", type=click.IntRange(1), default=10_000, show_default=True, help="In all.")
@click.option(
    "--endpoints", type=click.IntRange(0), default=4, show_default=True, help="Beside each job's own webhook."
)
@click.option("--per-s", type=click.FloatRange(1), default=30, show_default=True, help="Jobs that arrive in a second.")
@click.option("--notifiers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--seed", type=int, help="Of the faults; the same seed, the same schedule.  [default: by chance]")
def main(deliveries: int, endpoints: int, per_s: float, notifiers: int, seed: int | None) -> None:
    """Have each event arrive, under one id, whatever is killed meanwhile; say how many came more than once."""
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {chosen} (again: --seed {chosen}); {load_average()}")
    jobs = max(1, deliveries // (endpoints + 1))
    report = asyncio.run(suffer(jobs, per_s, endpoints, notifiers, chosen))
    click.echo(report.lines())
    if not report.kept:
        click.echo(LOGS.since(0), err=True)
        raise SystemExit(1)


async def suffer(jobs: int, per_s: float, endpoints: int, notifiers: int, seed: int) -> Report:
    with tempfile.TemporaryDirectory(prefix="penstock-webhooks-") as directory:
        models = write_repository(Path(directory))
        async with heard(models=models, notifiers=notifiers, environ=os.environ | ENVIRONMENT) as stack:
            names = await eventually(lambda: started(stack.roles, notifiers), 60, "the notifiers run")
            return await run(stack, jobs, per_s, endpoints, schedule(seed, jobs / per_s, rules(names)), click.echo)


def started(roles: Iterable[str], number: int) -> list[str]:
    """The notifiers, once there are so many."""
    names = [name for name in roles if name.startswith("notifier")]
    return names if len(names) == number else []


if __name__ == "__main__":
    main()
