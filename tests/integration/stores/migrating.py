"""A small schema that grows by every kind of migration; run as a program, to be killed: DSN, and a folder of files."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from stores.postgres.migrations import Migration, Pace, known_migrations, migrate, newest_known
from stores.postgres.migrations.files import read_migrations

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

# As in production, but for what would only cost the tests time.
QUICK = Pace(lock_timeout_s=0.2, pauses_s=(0.05,) * 200, rest=0.0, poll_s=0.02, tell_s=0.05)

TABLE = Migration(
    1,
    "0001_things.sql",
    "create table things (id integer primary key, name text, old integer);\n"
    "insert into things select n, 'thing ' || n, n from generate_series(1, 50) as n",
)
COLUMN = Migration(2, "0002_new.sql", "alter table things add column new integer")
INDEX = Migration(
    3, "0003_names.concurrent.sql", "create unique index concurrently if not exists names on things (name)"
)
FILLED = Migration(
    4,
    "0004_filled.backfill.sql",
    "update things set new = old where id in (select id from things where new is null order by id limit 10)",
)
GONE = Migration(5, "0005_gone.contract.sql", "alter table things drop column old")
LATER = Migration(6, "0006_later.sql", "create table later (n integer)")
ALL = [TABLE, COLUMN, INDEX, FILLED, GONE, LATER]


def contraction(sql: str = "select 1") -> Migration:
    """Of a version after this one."""
    number = newest_known() + 1
    return Migration(number, f"{number:04}_gone.contract.sql", sql)


async def contract(dsn: str) -> None:
    """What the version after this one does once no role of this one is connected."""
    await migrate(dsn, migrations=[*known_migrations(), contraction()])


@asynccontextmanager
async def session(dsn: str, name: str = "") -> "AsyncIterator[Connection]":
    """`name` is the application's."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": name} if name else None)
    try:
        yield connection
    finally:
        await connection.close()


async def fetch(dsn: str, sql: str) -> list[Any]:
    async with session(dsn) as connection:
        return [tuple(row) for row in await connection.fetch(sql)]


async def applied(dsn: str) -> list[int]:
    found = await fetch(dsn, "select number from schema_migrations where applied_at is not null order by number")
    return [number for (number,) in found]


async def waiting(dsn: str, sql: str) -> bool:
    """Whether a statement that holds this text waits for a lock."""
    async with session(dsn) as connection:
        found: bool = await connection.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database() "
            "and pid <> pg_backend_pid() and wait_event_type = 'Lock' and query ilike '%' || $1 || '%')",
            sql,
        )
        return found


if __name__ == "__main__":
    asyncio.run(
        migrate(sys.argv[1], migrations=read_migrations(Path(sys.argv[2])), pace=QUICK._replace(lock_timeout_s=60))
    )
