"""`penstock migrate`: tables and topics, for those who do not leave it to `penstock up`."""

import asyncio

import click
from pydantic import Field

from producers.topics import base_topics, ensure_topics
from runtime.logs import configure_logs
from runtime.settings import KafkaSettings, LogSettings, PostgresSettings, load
from schemas.errors import ConfigurationError, PenstockError
from stores.postgres.migrations import migrate as migrate_database


class MigrateSettings(KafkaSettings, PostgresSettings, LogSettings):
    topic_partitions: int = Field(
        12, ge=1, le=1000, description="of the requests and the results topic, when they are created"
    )


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
        asyncio.run(prepare(settings))
    except PenstockError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from error


async def prepare(settings: MigrateSettings) -> None:
    """Raises `PenstockError`. What was done is told line by line."""
    for migration in await migrate_database(settings.postgres_dsn.get_secret_value()):
        click.echo(f"applied {migration.name}")
    for name in await ensure_topics(settings, base_topics(settings, settings.topic_partitions)):
        click.echo(f"created topic {name}")
