"""`penstock models`: a group whose commands are imported when they are called."""

import click

from penstock.models.check import check
from penstock.models.pin import pin


@click.group()
def models() -> None:
    """Look at models, and see to their files."""


models.add_command(check)
models.add_command(pin)
