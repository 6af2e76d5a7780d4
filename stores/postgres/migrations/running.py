"""One run of all that is pending: who does it, and in which order."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from schemas.errors import ConfigurationError
from stores.postgres.errors import connecting
from stores.postgres.migrations.applying import Applying, Pace
from stores.postgres.migrations.files import Migration, known_migrations
from stores.postgres.migrations.ledger import LOCK, Entry, make_ledger, read_ledger
from stores.postgres.migrations.sessions import session
from stores.postgres.migrations.state import conflict_of

if TYPE_CHECKING:
    from stores.postgres.migrations.sessions import Connection

_SESSION: Final = {
    "statement_timeout": "0",  # whatever is set for this user
    # The lock ends with its holder: the server finds out that a client is gone, or its machine, also while it is busy
    # with a statement for it.
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_CONSIDERATE: Final = Pace()


async def migrate(
    dsn: str,
    *,
    migrations: Sequence[Migration] | None = None,
    timeout_s: float = 60.0,
    completed: Callable[[Migration], None] = lambda _: None,
    told: Callable[[str], None] = lambda _: None,
    wait_for_roles: bool = False,
    pace: Pace = _CONSIDERATE,
) -> Sequence[Migration]:
    """Bring the database up to date, beside roles that work over it; returns what was completed now.

    A contraction is left for later while a role is connected that uses what it takes away; with `wait_for_roles` it is
    waited for. What failed, or was cut off at any moment, the next call goes on with. `completed` hears of each when it
    is done; `told`, in lines, of what takes long, what is waited for and what was left.

    Safe when many processes do it at once: one works, the others wait for it. `timeout_s` bounds connecting, and each
    statement of those kinds that are quick.

    Raises `StoreUnavailable`, where a statement failed with its file, its line and what Postgres said of it;
    `ConfigurationError` for a database that was made by other files, or from which a newer version has taken away what
    this one uses.
    """
    known = known_migrations() if migrations is None else migrations
    with connecting():
        async with session(dsn, timeout_s, **_SESSION) as connection:
            await _lock(connection, told, pace.poll_s)
            await make_ledger(connection)
            pending = _pending(known, await read_ledger(connection))
            run = Applying(connection, dsn, timeout_s=timeout_s, told=told, wait_for_roles=wait_for_roles, pace=pace)
            done = []
            for migration in pending:
                if await run.apply(migration):
                    done.append(migration)
                    completed(migration)
            return done


def _pending(known: Sequence[Migration], entries: Sequence[Entry]) -> Sequence[Migration]:
    if conflict := conflict_of(known, entries):
        raise ConfigurationError(conflict)
    applied = {entry.number for entry in entries if entry.applied_at}
    return [migration for migration in known if migration.number not in applied]


async def _lock(connection: "Connection", told: Callable[[str], None], poll_s: float) -> None:
    """Held until the session ends.

    Asked for again and again: a session that waited within a statement would itself be waited for by an index that the
    holder builds concurrently.
    """
    has_told = False
    while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
        if not has_told:
            told("another `penstock migrate` is at work: waiting for it")
            has_told = True
        await asyncio.sleep(poll_s)
