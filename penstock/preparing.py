"""What must stand before the first role starts: tables and topics."""

from collections.abc import Callable

from pydantic import Field

from producers.topics import base_topics, ensure_topics
from runtime.settings import KafkaSettings, LogSettings, PostgresSettings
from stores.postgres.migrations import migrate


class MigrateSettings(KafkaSettings, PostgresSettings, LogSettings):
    topic_partitions: int = Field(
        12, ge=1, le=1000, description="of the requests and the results topic, when they are created"
    )


async def prepare(settings: MigrateSettings, told: Callable[[str], None]) -> None:
    """Bring the database up to date and create the topics that are there before any model is.

    `told` hears a line about each thing that was not there yet. Raises `PenstockError`.
    """
    for migration in await migrate(settings.postgres_dsn.get_secret_value()):
        told(f"applied {migration.name}")
    for name in await ensure_topics(settings, base_topics(settings, settings.topic_partitions)):
        told(f"created topic {name}")
