"""`penstock gateway`, `penstock worker`, ...: one role in this process, configured by PENSTOCK_* variables."""

from importlib import import_module

import click

from penstock.cli import COMMANDS, missing_extra


def run_role(name: str, module: str) -> None:
    """Import a role's `main` and run it until a signal stops it. Invalid settings exit with 2."""
    try:
        role = import_module(module)
    except ModuleNotFoundError as error:
        raise missing_extra(name, COMMANDS[name], error) from error
    role.run()


@click.command()
def gateway() -> None:
    """Serve the HTTP API."""
    run_role("gateway", "gateway.main")


@click.command()
def worker() -> None:
    """Run models over the jobs of their lanes."""
    run_role("worker", "workers.inference.main")


@click.command()
def router() -> None:
    """Choose a version for jobs that were sent straight to Kafka."""
    run_role("router", "workers.router.main")


@click.command()
def sink() -> None:
    """Make results durable and wake whoever waits for them."""
    run_role("sink", "workers.sink.main")
