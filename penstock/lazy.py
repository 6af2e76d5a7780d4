"""Commands that are imported when they are called, so that each loads nothing but its own; their help is told here."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import click

from runtime.extras import install_command

OUR_PACKAGES: Final = frozenset(["gateway", "penstock", "producers", "runtime", "schemas", "stores", "workers"])


class Place(NamedTuple):
    """Where a command is defined, the extra that brings what it needs, its help in a line, and under which title."""

    module: str
    attribute: str
    extra: str
    help: str
    section: str = "Commands"


class LazyGroup(click.Group):
    """Knows its commands' names, and imports the one that is asked for."""

    def __init__(self, *args: Any, places: Mapping[str, Place], **options: Any) -> None:
        super().__init__(*args, **options)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        if place is None:
            return None
        try:
            command: click.Command = getattr(import_module(place.module), place.attribute)
        except ModuleNotFoundError as error:
            raise missing_extra(_path(ctx, cmd_name), place, error) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        for section in dict.fromkeys(place.section for place in self.places.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, place.help) for name, place in self.places.items() if place.section == section]
                )


def _path(ctx: click.Context, name: str) -> str:
    """The command as it is called, less the program itself."""
    return " ".join([*ctx.command_path.split()[1:], name])


def missing_extra(command: str, place: Place, error: ModuleNotFoundError) -> Exception:
    """What to say when an import failed: which extra brings the package, unless it is one of our own."""
    if (error.name or "").partition(".")[0] in OUR_PACKAGES:
        return error
    return click.ClickException(f"`penstock {command}` needs the package {error.name}: {install_command(place.extra)}")
