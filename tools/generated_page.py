"""A page of docs/ that is written from the code."""

from collections.abc import Callable
from pathlib import Path

import click


def writes(page: Path, render: Callable[[], str]) -> click.Command:
    """A command that writes the page, or with `--check` says whether it is current."""

    @click.command(help=f"Write docs/{page.name}.")
    @click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the page is not current.")
    def main(*, check: bool) -> None:
        text = render()
        if not check:
            page.write_text(text)
        elif not page.exists() or page.read_text() != text:
            raise click.ClickException(f"docs/{page.name} is not current: run `make docs`")

    return main
