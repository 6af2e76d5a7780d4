"""`penstock env`: the variables that make a further process part of a running stack."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from penstock.errors import StackError
from penstock.finding import DATA_DIR
from penstock.help import examples
from penstock.running import running_over
from penstock.showing import JSON, show_json


@click.command(
    epilog=examples(
        'eval "$(penstock env)" && penstock worker',
        "penstock env --data-dir ./here > here.env",
        reads="none; it asks the `penstock up` over --data-dir",
    )
)
@DATA_DIR
@JSON
def env(data_dir: Path | None, *, as_json: bool) -> None:
    """Print what a further worker, or a program of yours, must know of a running `penstock up`.

    Lines for a shell, passwords among them: treat them as a secret. The health pages of a further role get a free port.
    """
    try:
        environ = running_over(data_dir).environ
    except StackError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        show_json(environ)
    else:
        click.echo("\n".join(lines(environ)))


def lines(environ: Mapping[str, str]) -> list[str]:
    """What a shell takes."""
    settings = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environ.items())]
    return ["# Secret: passwords stand here.", *settings]
