"""`penstock env`: the variables that make a further process part of a running stack."""

import shlex
from collections.abc import Mapping

import click

from penstock.finding import finds
from penstock.help import examples
from penstock.running import GATEWAY_URL, Found
from penstock.showing import JSON, show_json


@click.command(
    epilog=examples(
        'eval "$(penstock env)" && penstock worker',
        "penstock env --data-dir ./here > here.env",
        reads="none: it asks the `penstock up` over --data-dir",
    )
)
@JSON
@finds("")
def env(found: Found, *, as_json: bool) -> None:
    """Print what a further worker, or a program of yours, must know of a running `penstock up`.

    Lines for a shell, passwords among them: treat them as a secret. Health pages of a further role get a free port.
    """
    if found.running is None:
        raise click.ClickException(f"nothing runs here{found.origin}")
    if as_json:
        show_json(found.running.environ)
    else:
        click.echo("\n".join(lines(found.running.environ)))


def lines(environ: Mapping[str, str]) -> list[str]:
    """What a shell takes; those by which others find us first."""
    return [
        "# Secret: passwords stand here.",
        *(
            f"export {name}={shlex.quote(environ[name])}"
            for name in sorted(environ, key=lambda name: (name != GATEWAY_URL, name))
        ),
    ]
