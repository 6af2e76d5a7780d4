"""How a database's schema stands to this version of Penstock."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from schemas.errors import ConfigurationError, StoreUnavailable
from stores.postgres.errors import connecting
from stores.postgres.migrations.files import RELIED_ON, Kind, Migration, kind_of, known_migrations, newest_known
from stores.postgres.migrations.ledger import LOCK, Entry, read_ledger
from stores.postgres.migrations.sessions import ConnectedRole, connected_roles, session

if TYPE_CHECKING:
    from stores.postgres.migrations.sessions import Connection

_NEEDS: Final = "select name, version from schema_migrations where needs > $1 order by needs desc limit 1"
_MIGRATING: Final = """
select exists (
    select from pg_locks where locktype = 'advisory' and granted and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and (classid::bigint << 32) + objid::bigint = $1
)
"""


class Standing(StrEnum):
    APPLIED = "applied"
    STARTED = "started"  # in progress, or cut off: `penstock migrate` goes on with it
    PENDING = "pending"
    NEWER = "newer"  # applied, or begun, by a newer version of Penstock


class Step(NamedTuple):
    """One migration. `rows_changed`: by a backfill, so far."""

    number: int
    name: str
    kind: Kind
    standing: Standing
    started_at: datetime | None = None
    applied_at: datetime | None = None
    rows_changed: int | None = None


class SchemaState(NamedTuple):
    """What `schema_state` found.

    `conflict` says why this version cannot use this database, in a line, or is None. `migrating`: somebody is at it in
    this moment. `roles` are those that are connected.
    """

    steps: Sequence[Step]
    conflict: str | None
    migrating: bool
    roles: Sequence[ConnectedRole]

    @property
    def missing(self) -> Sequence[Step]:
        """What no role of this version starts without."""
        return [step for step in self._undone if step.kind in RELIED_ON]

    @property
    def unfinished(self) -> Sequence[Step]:
        """Backfills and contractions that are not done: roles of this version work, and `penstock migrate` goes on."""
        return [step for step in self._undone if step.kind not in RELIED_ON]

    @property
    def trouble(self) -> str | None:
        """Why a role of this version cannot work over this database now, in a line with the remedy; or None."""
        return self.conflict or lacks(self.missing)

    @property
    def _undone(self) -> Sequence[Step]:
        return [step for step in self.steps if step.standing in (Standing.PENDING, Standing.STARTED)]


async def schema_state(dsn: str, *, timeout_s: float = 5.0) -> SchemaState:
    """How the database stands to this version. Changes nothing.

    Raises `StoreUnavailable` if nobody answers within `timeout_s`, `ConfigurationError` if the database does not let
    us in.
    """
    with connecting():
        async with session(dsn, timeout_s) as connection:
            entries = await read_ledger(connection)
            migrating = await connection.fetchval(_MIGRATING, LOCK)
            roles = await connected_roles(connection)
    known = known_migrations()
    return SchemaState(steps_of(known, entries), conflict_of(known, entries), migrating, roles)


async def require_migrated(dsn: str) -> None:
    """Raises `StoreUnavailable`, naming what is missing and the command that helps, where the database is behind.

    One that is ahead is served, as long as nothing was taken away that this version needs: else `ConfigurationError`.
    """
    state = await schema_state(dsn)
    if state.conflict:
        raise ConfigurationError(state.conflict)
    if missing := lacks(state.missing):
        raise StoreUnavailable(missing)


async def refuse_contracted(connection: "Connection") -> None:
    """Raises `ConfigurationError` where something was taken away that this version uses.

    To be asked on each connection of a role before anything else: from then on `migrate` sees the connection, and takes
    nothing away. Where a contraction is being applied in this moment, it waits for its end.
    """
    try:
        row = await connection.fetchrow(_NEEDS, newest_known())
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        return  # from before there were contractions
    if row is not None:
        raise ConfigurationError(_contracted(row["name"], row["version"]))


def steps_of(known: Sequence[Migration], entries: Sequence[Entry]) -> Sequence[Step]:
    """All that either side knows of, in order."""
    found = {entry.number: entry for entry in entries}
    names = {migration.number: migration.name for migration in known}
    steps = []
    for number in sorted(names | found):
        entry = found.get(number)
        name = names[number] if number in names else found[number].name
        if entry is None:
            steps.append(Step(number, name, kind_of(name), Standing.PENDING))
            continue
        done = Standing.APPLIED if entry.applied_at else Standing.STARTED
        standing = done if number in names else Standing.NEWER
        step = Step(number, name, kind_of(name), standing, entry.started_at, entry.applied_at, entry.rows_changed)
        steps.append(step)
    return steps


def conflict_of(known: Sequence[Migration], entries: Sequence[Entry]) -> str | None:
    """Why the version with these migrations cannot use a database with those entries, in a line."""
    newest = known[-1].number if known else 0
    ours = {migration.number: migration for migration in known}
    applied = [entry for entry in entries if entry.applied_at]
    for entry in applied:
        if (entry.needs or 0) > newest:
            return _contracted(entry.name, entry.version)
    for entry in applied:
        migration = ours.get(entry.number)
        if migration and migration.sha256 != entry.sha256:
            return f"the database was migrated by another {migration.name} than this version of Penstock brings"
    return _skipped(known, entries)


def lacks(missing: Sequence[Step]) -> str | None:
    """None if nothing is missing."""
    if not missing:
        return None
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"the database lacks migrations of this version ({missing[0].name}{more}): run `penstock migrate`"


def _contracted(name: str, version: str | None) -> str:
    run = f"run Penstock {version}" if version else "run the version of Penstock that applied it"
    return f"the database was migrated by {name}, which took away what this version of Penstock needs: {run} or newer"


def _skipped(known: Sequence[Migration], entries: Sequence[Entry]) -> str | None:
    """A migration that later ones could rely on cannot be made up for. Contractions may come late."""
    begun = {entry.number for entry in entries if kind_of(entry.name) is not Kind.CONTRACT}
    for migration in known:
        if migration.kind is not Kind.CONTRACT and migration.number not in begun:
            skipped = migration.number < max(begun, default=0)
            return f"the database lacks {migration.name}, which came before those it has" if skipped else None
    return None
