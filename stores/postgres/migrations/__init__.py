"""The schema, as numbered SQL files beside this one. Each is applied once and never edited afterwards."""

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Final, NamedTuple

import asyncpg

from schemas.errors import ConfigurationError, StoreUnavailable
from stores.postgres.errors import connecting

# Any number will do, as long as nobody else takes advisory locks on it in this database.
_LOCK: Final = 0x70656E73746F636B
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_TABLE: Final = """
create table if not exists schema_migrations (
    number     integer     primary key,
    name       text        not null,
    sha256     text        not null,
    applied_at timestamptz not null default now()
)
"""


class Migration(NamedTuple):
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations() -> Sequence[Migration]:
    """Every migration of this version of Penstock, in order."""
    return sorted(
        Migration(int(match[1]), file.name, file.read_text("utf-8").replace("\r\n", "\n"))
        for file in resources.files(__name__).iterdir()
        if (match := _NAME.fullmatch(file.name))
    )


async def migrate(
    dsn: str, *, migrations: Sequence[Migration] | None = None, timeout_s: float = 60.0
) -> Sequence[Migration]:
    """Bring the database up to date; returns what was applied now. All of it or nothing: it is one transaction.

    Safe when many processes do it at once: one works, the others wait, at most `timeout_s` seconds for each statement.
    Raises `ConfigurationError` for a database that is ahead of this code, or was made by other files.
    """
    known = known_migrations() if migrations is None else migrations
    with connecting():
        connection = await asyncpg.connect(dsn, timeout=timeout_s, command_timeout=timeout_s)
        try:
            async with connection.transaction():
                await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
                await connection.execute(_TABLE)
                rows = await connection.fetch("select number, name, sha256 from schema_migrations order by number")
                pending = _pending(known, {row["number"]: (row["name"], row["sha256"]) for row in rows})
                for migration in pending:
                    await connection.execute(migration.sql)
                    await connection.execute(
                        "insert into schema_migrations (number, name, sha256) values ($1, $2, $3)",
                        migration.number,
                        migration.name,
                        migration.sha256,
                    )
        finally:
            await connection.close(timeout=timeout_s)
    return pending


async def applied_migrations(dsn: str, *, timeout_s: float = 5.0) -> frozenset[int]:
    """The numbers of the migrations that the database has; none where it has never been migrated."""
    with connecting():
        connection = await asyncpg.connect(dsn, timeout=timeout_s, command_timeout=timeout_s)
        try:
            return frozenset(row["number"] for row in await connection.fetch("select number from schema_migrations"))
        except asyncpg.UndefinedTableError:
            return frozenset()
        finally:
            await connection.close(timeout=timeout_s)


async def require_migrated(dsn: str) -> None:
    """Raises `StoreUnavailable`, naming the command that helps, where the database lacks a migration of this version.

    One that has more is served: a newer version may have migrated it while this one is still running.
    """
    missing = {migration.number for migration in known_migrations()} - await applied_migrations(dsn)
    if missing:
        raise StoreUnavailable(f"the database lacks {len(missing)} migrations of this version: run `penstock migrate`")


def _pending(known: Sequence[Migration], applied: dict[int, tuple[str, str]]) -> Sequence[Migration]:
    newest = known[-1].number if known else 0
    if applied and max(applied) > newest:
        raise ConfigurationError(
            f"the database is at migration {max(applied)}, and this version of Penstock knows {newest}: "
            "run the version that migrated it, or a newer one"
        )
    for migration in known:
        name, sha256 = applied.get(migration.number, (migration.name, migration.sha256))
        if sha256 != migration.sha256:
            raise ConfigurationError(
                f"the database was migrated by another {name} than this version of Penstock brings"
            )
    missing = [migration for migration in known if migration.number not in applied]
    if missing and applied and missing[0].number < max(applied):
        raise ConfigurationError(f"the database lacks {missing[0].name}, which came before those it has")
    return missing
