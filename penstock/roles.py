"""`penstock gateway`, `penstock worker`, ...: one role in this process, configured by PENSTOCK_* variables."""

import gc
import os
from importlib import import_module

import click
from pydantic import ValidationError

from penstock.cli import COMMANDS
from penstock.lazy import missing_extra
from runtime.logs import configure_logs, get_logger
from runtime.settings import LogSettings


def run_role(name: str, module: str) -> None:
    """Import a role's `main` and run it until a signal stops it.

    Exits with 0 when it was told to stop, with 2 where settings or what they name cannot be right, with 1 where it
    failed; what is merely away is waited for.
    """
    gc.disable()  # until the role runs: collections would take a sixth of the imports, and find nothing
    try:
        role = import_module(module)
        warn_of_unknown_variables(name)
    except ModuleNotFoundError as error:
        raise missing_extra(name, COMMANDS[name], error) from error
    role.run()


def warn_of_unknown_variables(role: str) -> None:
    """A misspelt variable changes nothing, which nobody would notice."""
    from penstock.invalid_settings import unknown_variables  # noqa: PLC0415 - the settings of all roles

    unknown = list(unknown_variables(os.environ))
    if unknown:
        try:
            configure_logs(LogSettings(), role)
        except ValidationError:
            return  # the role itself is about to tell all mistakes
        for _, line in unknown:
            get_logger(__name__).warning(line)


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
