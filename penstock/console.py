"""What `up` writes: its own words, and the logs of the roles, each line with the name of who said it."""

import threading
from contextlib import suppress
from itertools import cycle
from typing import TextIO

import click

COLORS = ("cyan", "magenta", "green", "blue", "yellow")
NAME_WIDTH = 8


class Console:
    """Whole lines, from any thread. Colors only where a terminal shows them.

    What cannot be written (a full disk, a closed terminal) is dropped: where nobody takes
    the lines of a role, it stands still.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._next_color = cycle(COLORS)
        self._colors: dict[str, str] = {}

    def line(self, name: str, text: str) -> None:
        """A line of a role's log."""
        with self._lock:
            if name not in self._colors:
                self._colors[name] = next(self._next_color)
            self._write(click.style(f"{name:<{NAME_WIDTH}} |", fg=self._colors[name]), text)

    def say(self, text: str) -> None:
        """A line of our own."""
        with self._lock:
            self._write(click.style(f"{'penstock':<{NAME_WIDTH}} |", bold=True), text)

    def _write(self, who: str, text: str) -> None:
        with suppress(OSError, ValueError):
            click.echo(f"{who} {text}", file=self._stream)
