"""Who is connected to the database: each session of ours says which role it serves, and what its version knows."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import asyncpg

from stores.postgres.migrations.files import newest_known

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

# The role alone is what versions said that knew of no contractions.
_NAME: Final = re.compile(r"penstock(?:/(\d+)/(.*))?")
# Reads the schema, and uses nothing of it.
MIGRATE: Final = "migrate"
# Uses the stores, and is no role that has a name.
CLIENT: Final = "client"
# How long a transaction waits for the next word of its process. One that is stopped, or whose machine is gone, keeps
# what it has locked no longer.
LONGEST_SILENCE: Final = "10s"
_SESSIONS: Final = """
select application_name, host(client_addr) as address, count(*) as connections
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name like 'penstock%'
group by 1, 2 order by 1, 2
"""


class ConnectedRole(NamedTuple):
    """The sessions of one role from one address, where Postgres tells it: of other users it does not tell all.

    `newest`: number of the newest migration that its version knows.
    """

    role: str
    newest: int
    address: str | None
    connections: int

    def __str__(self) -> str:
        return f"{self.role} at {self.address}" if self.address else self.role


def application_name(role: str) -> str:
    return f"penstock/{newest_known()}/{role}"


def settings_of(role: str) -> dict[str, str]:
    """What a session tells the server when it begins."""
    return {"application_name": application_name(role), "idle_in_transaction_session_timeout": LONGEST_SILENCE}


@asynccontextmanager
async def session(dsn: str, timeout_s: float, **settings: str) -> "AsyncIterator[Connection]":
    """One of `penstock migrate`, as long as the block lasts. `timeout_s` bounds the connect and each statement."""
    connection = await asyncpg.connect(
        dsn, timeout=timeout_s, command_timeout=timeout_s, server_settings={**settings_of(MIGRATE), **settings}
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=timeout_s)


async def connected_roles(connection: "Connection") -> Sequence[ConnectedRole]:
    rows = await connection.fetch(_SESSIONS)
    roles = (_role(*row) for row in rows)
    return [role for role in roles if role is not None and role.role != MIGRATE]


def _role(name: str, address: str | None, connections: int) -> ConnectedRole | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return ConnectedRole(match[2] or "a role of an older version", int(match[1] or 0), address, connections)
