"""The help of a role: what it reads comes from its settings class, so that it is written once."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

from runtime.settings import PREFIX


class RoleCommand(click.Command):
    """Ends its help with `examples`, the exit status, and the role's variables: its own first."""

    def __init__(self, *args: Any, examples: Sequence[str], exits: Sequence[tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._examples = examples
        self._exits = exits

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in self._examples))
        with formatter.section("Exit status"):
            formatter.write_dl(self._exits)
        own, shared = variables(ctx.info_name or "")
        if own:
            with formatter.section("Variables of its own"):
                formatter.write_dl(own)
        with formatter.section("Variables that it shares with other roles"):
            formatter.write_dl(shared)


def variables(command: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Each with its meaning: those that only this command reads, and the others."""
    # The settings of all roles: only who asks for help waits for them.
    from penstock.settings_reference import COMMANDS, default, meaning, readers  # noqa: PLC0415

    fields = COMMANDS[command].model_fields
    read = readers()

    def told(names: Iterable[str]) -> list[tuple[str, str]]:
        lines = []
        for name in names:
            value = default(fields[name])
            text = meaning(fields[name]).replace("`", "") + (f"  [default: {value}]" if value else "")
            lines.append((f"{PREFIX}{name.upper()}", text))
        return lines

    own = [name for name in fields if read[name] == [command]]
    return told(own), told(name for name in fields if name not in own)
