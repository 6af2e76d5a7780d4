"""The `penstock` command. Each subcommand is imported when it is called: a role loads nothing but its own."""

import os
from importlib import import_module
from typing import NamedTuple

import click


class Place(NamedTuple):
    """Where a command is defined, and the extra that brings what it needs."""

    module: str
    attribute: str
    extra: str


COMMANDS = {
    "up": Place("penstock.up", "up", "stack"),
    "gateway": Place("penstock.roles", "gateway", "gateway"),
    "worker": Place("penstock.roles", "worker", "worker"),
    "router": Place("penstock.roles", "router", "router"),
    "sink": Place("penstock.roles", "sink", "sink"),
    "submit": Place("penstock.submit.command", "submit", "bulk"),
    "dlq": Place("penstock.dlq.command", "dlq", "bulk"),
    "migrate": Place("penstock.migrate", "migrate", "stores"),
    "init": Place("penstock.init.command", "init", "worker"),
    "models": Place("penstock.models.command", "models", "worker"),
    "import": Place("penstock.importing.command", "import_", "worker"),
    "export": Place("penstock.exporting.command", "export", "export"),
}


OUR_PACKAGES = frozenset(["gateway", "penstock", "producers", "runtime", "schemas", "stores", "workers"])


class LazyGroup(click.Group):
    """Knows its commands' names, and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        try:
            command: click.Command = getattr(import_module(place.module), place.attribute)
        except ModuleNotFoundError as error:
            raise missing_extra(cmd_name, place, error) from error
        return command


def missing_extra(command: str, place: Place, error: ModuleNotFoundError) -> Exception:
    """What to say when an import failed: which extra brings the package, unless it is one of our own."""
    if (error.name or "").partition(".")[0] in OUR_PACKAGES:
        return error
    return click.ClickException(
        f"`penstock {command}` needs the package {error.name}: pip install 'penstock[{place.extra}]'"
    )


@click.group(cls=LazyGroup)
@click.version_option(package_name="penstock", prog_name="penstock")
def main() -> None:
    """Asynchronous batch inference: HTTP and Kafka in, micro-batches through the model, results out."""
    # ONNX Runtime's wheels send telemetry unless this is set before it is used; child processes inherit it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
