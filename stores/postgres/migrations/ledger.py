"""What the database itself knows of its migrations: the table `schema_migrations`."""

from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from runtime.extras import NAME
from stores.postgres.migrations.files import Migration

if TYPE_CHECKING:
    from stores.postgres.migrations.sessions import Connection

# Whoever migrates holds it as long as its session lasts. Any number will do, as long as nobody else takes advisory
# locks on it in this database.
LOCK: Final = 0x70656E73746F636B

_HAS_LEDGER: Final = """
select exists (select from pg_attribute where attrelid = to_regclass('schema_migrations') and attname = 'needs')
"""
# The first statement is the table as it was before there were kinds of migrations.
_LEDGER: Final = """
create table if not exists schema_migrations (
    number     integer     primary key,
    name       text        not null,
    sha256     text        not null,
    applied_at timestamptz not null default now()
);
alter table schema_migrations
    alter column applied_at drop not null,      -- null: started, and not done yet
    add column started_at   timestamptz,
    add column rows_changed bigint,             -- by a backfill, so far
    add column needs        integer,            -- who does not know the migration of this number cannot work any more
    add column version      text                -- of Penstock, which started it
"""
_START: Final = """
insert into schema_migrations (number, name, sha256, version, started_at, applied_at)
values ($1, $2, $3, $4, now(), null)
on conflict (number) do update set name = excluded.name, sha256 = excluded.sha256, version = excluded.version
"""
_DONE: Final = "update schema_migrations set applied_at = now(), needs = $2 where number = $1"
_COUNT: Final = """
update schema_migrations set rows_changed = coalesce(rows_changed, 0) + $2 where number = $1 returning rows_changed
"""


class Entry(NamedTuple):
    """A row of the table. Of one that is not done yet, `applied_at` is None."""

    number: int
    name: str
    sha256: str
    applied_at: datetime | None = None
    started_at: datetime | None = None
    rows_changed: int | None = None
    needs: int | None = None
    version: str | None = None


async def read_ledger(connection: "Connection") -> Sequence[Entry]:
    """What stands there, in order; nothing in a database that was never migrated."""
    try:
        rows = await connection.fetch("select * from schema_migrations order by number")
    except asyncpg.UndefinedTableError:
        return []
    return [Entry(**{name: row[name] for name in Entry._fields if name in row}) for row in rows]


async def make_ledger(connection: "Connection") -> None:
    if not await connection.fetchval(_HAS_LEDGER):
        async with connection.transaction():
            await connection.execute(_LEDGER)


async def write_started(connection: "Connection", migration: Migration) -> None:
    """Write down that it is being applied. One that was started before may come from a corrected file now."""
    await connection.execute(_START, migration.number, migration.name, migration.sha256, _version())


async def write_done(connection: "Connection", migration: Migration) -> None:
    await connection.execute(_DONE, migration.number, migration.needs)


async def add_rows(connection: "Connection", migration: Migration, rows: int) -> int:
    """Add to the rows that a backfill has changed. Returns all of them."""
    changed: int = await connection.fetchval(_COUNT, migration.number, rows)
    return changed


def _version() -> str | None:
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:  # run from its source, without having been installed
        return None
