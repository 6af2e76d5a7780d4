"""What must stand before the first role starts: tables and topics."""

from collections.abc import Mapping

from penstock.errors import StackError
from producers.topics import base_topics, ensure_topics
from runtime.settings import PREFIX, KafkaSettings
from schemas.errors import PenstockError
from stores.postgres.migrations import migrate

# Of the requests and the results topic: enough for a few processes of each role on one machine.
PARTITIONS = 4


async def migrate_database(dsn: str) -> None:
    """Bring the database up to date. Raises `StackError`."""
    try:
        await migrate(dsn)
    except PenstockError as error:
        raise StackError(f"the database cannot be brought up to date: {error}") from error


async def create_topics(environ: Mapping[str, str]) -> None:
    """Create the topics that are there before any model is. Raises `StackError`."""
    settings = kafka_settings(environ)
    try:
        await ensure_topics(settings, base_topics(settings, PARTITIONS))
    except PenstockError as error:
        raise StackError(f"{error} (Kafka at {settings.kafka_bootstrap_servers})") from error


def kafka_settings(environ: Mapping[str, str]) -> KafkaSettings:
    """What a role with this environment would read."""
    names = {name: f"{PREFIX}{name.upper()}" for name in KafkaSettings.model_fields}
    return KafkaSettings.model_validate({name: environ[key] for name, key in names.items() if environ.get(key)})
