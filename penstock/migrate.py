"""`penstock migrate`: tables and topics, for those who do not leave it to `penstock up`."""

import asyncio

import click

from penstock.preparing import MigrateSettings, prepare
from runtime.logs import configure_logs
from runtime.settings import load
from schemas.errors import ConfigurationError, PenstockError


@click.command()
def migrate() -> None:
    """Bring the database up to date and create the topics that are missing.

    To be run before the first start and before each upgrade; with nothing left to do it does nothing. Workers create
    the topics of their models' lanes themselves. Exits with 1 if a service does not answer, with 2 if the settings or
    the database do not fit this version.
    """
    settings = load(MigrateSettings)
    configure_logs(settings, "migrate")
    try:
        asyncio.run(prepare(settings, click.echo))
    except PenstockError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from error
