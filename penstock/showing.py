"""What commands print: tables and documents, for a terminal and for a pipe."""

import shutil
import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import click
import orjson
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Of what is piped no line is broken or cut.
UNBOUNDED: Final = 100_000
GAP: Final = 2
LEAST_ROOM: Final = 12
STYLES: Final = {
    **dict.fromkeys(("succeeded", "ready", "serving"), "green"),
    **dict.fromkeys(("failed", "not ready", "no answer", "refused"), "red"),
    **dict.fromkeys(("running", "loading"), "cyan"),
    **dict.fromkeys(("canceled", "unloaded", "no worker"), "yellow"),
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
    """One document a line. Bytes are JSON already, as the gateway sent it."""
    click.echo(document if isinstance(document, bytes) else orjson.dumps(document, option=orjson.OPT_UTC_Z))


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """A line for each row. The last column is shortened to what a terminal has room for; `right`: titles of numbers."""
    cells = [[cell(text) for text in row] for row in rows]
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for number, title in enumerate(titles):
        last = number == len(titles) - 1
        room = shutil.get_terminal_size().columns - table_width(titles, cells) if last and is_terminal() else None
        table.add_column(
            title,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if title in right else "left",
            max_width=None if room is None else max(room, LEAST_ROOM),
        )
    for row in cells:
        table.add_row(*row)
    show(table)


def table_width(titles: Sequence[str], cells: Sequence[Sequence[Text]]) -> int:
    """Of all columns but the last."""
    widths = [max(cell_len(title), *(row[n].cell_len for row in cells), 0) for n, title in enumerate(titles[:-1])]
    return sum(widths) + GAP * len(widths)


def cell(text: str) -> Text:
    line = printable(text)
    return Text(line, style=STYLES.get(line, ""))


def printable(text: str) -> str:
    """What others wrote, so that it can neither break the table nor speak to the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def show_facts(facts: dict[str, str]) -> None:
    """A name and what is said of it a line; what there is nothing to say of is left out."""
    width = max(map(len, facts), default=0)
    show(*(Text(f"{name:<{width}}  ").append(cell(fact)) for name, fact in facts.items() if fact))


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in one unit: `12 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0.0, (now - moment).total_seconds())
    for unit, length_s, until_s in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
