"""What must stand before the first role starts: tables and topics."""

from collections.abc import Callable

from penstock.errors import in_a_line
from penstock.migrate_settings import MigrateSettings
from producers.topics import base_topics, ensure_topics
from schemas.errors import PenstockError, StoreUnavailable
from stores.postgres.migrations import migrate


async def prepare(
    settings: MigrateSettings,
    told: Callable[[str], None],
    progress: Callable[[str], None],
    *,
    wait_for_roles: bool = False,
) -> None:
    """Bring the database up to date and create the topics that are there before any model is.

    `told` hears a line about each thing that was not there yet, `progress` about what takes long, is waited for, or was
    left for later. Raises `PenstockError`.
    """
    dsn = settings.postgres_dsn.get_secret_value()
    await migrate(
        dsn,
        completed=lambda migration: told(f"applied {migration.name}"),
        told=progress,
        wait_for_roles=wait_for_roles,
    )
    for name in await ensure_topics(settings, base_topics(settings, settings.topic_partitions)):
        told(f"created topic {name}")


def told_with_address(error: PenstockError) -> str:
    """The error; of a database that is not reached also where it was looked for, and what says so."""
    cause = error.__cause__
    if not (isinstance(error, StoreUnavailable) and isinstance(cause, OSError)):
        return str(error)
    return f"{error}: {in_a_line(cause)}; PENSTOCK_POSTGRES_DSN says where it is"
