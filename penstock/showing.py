"""What commands print: tables and documents, for a terminal and for a pipe."""

import os
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import click
import msgspec
from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType

from penstock.plain import printable

# Of what is piped no line is broken or cut.
UNBOUNDED: Final = 100_000
GAP: Final = 2
LEAST_ROOM: Final = 12
_CONTROLS: Final = re.compile("[\x7f-\x9f]")
STYLES: Final = {
    **dict.fromkeys(("succeeded", "ready", "serving"), "green"),
    **dict.fromkeys(("failed", "not ready", "no answer", "refused"), "red"),
    **dict.fromkeys(("running", "loading"), "cyan"),
    **dict.fromkeys(("canceled", "unloaded", "no_worker"), "yellow"),
}

JSON: Final = click.option("--json", "as_json", is_flag=True, help="For programs: JSON, one document a line.")


def is_terminal() -> bool:
    return sys.stdout.isatty()


def show(*things: RenderableType) -> None:
    """Print what rich can render: in the terminal's width and colors, and as plain lines of any length to a pipe."""
    terminal = is_terminal()
    width = shutil.get_terminal_size().columns if terminal else UNBOUNDED
    console = Console(width=width, markup=False, highlight=False, emoji=False, soft_wrap=not terminal)
    with console.capture() as captured:
        for thing in things:
            console.print(thing)
    for line in captured.get().splitlines():
        click.echo(line if terminal else line.rstrip())


def show_json(document: Any) -> None:
    """One document a line, of which a terminal takes nothing for orders: JSON need not escape all that it might."""
    text = msgspec.json.encode(document).decode()
    click.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """A line for each row, as `table_lines` has them; states in their colors."""
    terminal = is_terminal()
    width = shutil.get_terminal_size().columns if terminal else None
    head, *lines = table_lines(titles, rows, width, right)
    click.echo(styled((" " * GAP).join(head).rstrip(), "bold"))
    for line in lines:
        click.echo((" " * GAP).join(styled(each, STYLES.get(each.strip())) for each in line).rstrip())


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, right: Collection[str] = ()
) -> list[list[str]]:
    """The cells of the head and of each row, as wide as their column. Columns that are empty are left out; the last one
    is cut to what `width` leaves it. `right`: titles of numbers. Pure."""
    table = [[printable(cell) for cell in row] for row in filled_columns(titles, rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    if width is not None and widths:
        widths[-1] = min(widths[-1], max(width - sum(widths[:-1]) - GAP * (len(widths) - 1), LEAST_ROOM))
    to_the_right = [title in right for title in table[0]]
    return [[fitted(*each) for each in zip(line, widths, to_the_right, strict=True)] for line in table]


def filled_columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The titles and the rows, without the columns in which no row has anything. Pure."""
    filled = [number for number in range(len(titles)) if any(row[number] for row in rows)]
    return [[row[number] for number in filled] for row in (titles, *rows)]


def fitted(text: str, width: int, to_the_right: bool) -> str:
    room = width - cell_len(text)
    if room < 0:
        return f"{set_cell_size(text, width - 1)}…"
    return " " * room + text if to_the_right else text + " " * room


def styled(text: str, style: str | None) -> str:
    """In a color, or `bold`, where a terminal shows colors and its user wants some (no-color.org)."""
    if style is None or not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, bold=True) if style == "bold" else click.style(text, fg=style)


def show_facts(facts: dict[str, str]) -> None:
    """A name and what is said of it a line; what there is nothing to say of is left out."""
    width = max((len(name) for name, fact in facts.items() if fact), default=0)
    for name, fact in facts.items():
        if fact:
            click.echo(f"{name:<{width}}  {styled(printable(fact), STYLES.get(fact))}")


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in one unit: `12 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0.0, (now - moment).total_seconds())
    for unit, length_s, until_s in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
