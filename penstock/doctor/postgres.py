"""Postgres: whether it answers and lets us in, its version, its schema, and what we may do there."""

import time
from typing import NamedTuple

import asyncpg

from penstock.addresses import without_password
from penstock.doctor.findings import Finding, Level, Tell, clock
from penstock.errors import in_a_line
from schemas.errors import ConfigurationError, PenstockError
from stores.postgres.migrations import SchemaState, schema_state

SUBJECT = "Postgres"
CONNECT_S = 5.0
OLDEST = 13
# Of the connections that a server takes.
FULL = 0.9
TABLES = ("jobs", "idempotency_keys")
ABOUT = """
select current_setting('server_version') as version, current_setting('server_version_num')::int / 10000 as major,
    extract(epoch from clock_timestamp())::float8 as now_s, pg_is_in_recovery() as standby,
    has_schema_privilege(current_schema(), 'create') as creates, current_user as name,
    (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as connections,
    current_setting('max_connections')::int as most_connections,
    array(select t from unnest($1::text[]) t where to_regclass(t) is not null
        and not (has_table_privilege(t, 'select') and has_table_privilege(t, 'insert')
            and has_table_privilege(t, 'update') and has_table_privilege(t, 'delete'))) as closed
"""


class About(NamedTuple):
    """What a server says of itself. `closed`: tables of ours that we may not read and write."""

    version: str
    major: int
    now_s: float
    standby: bool
    creates: bool
    name: str
    connections: int
    most_connections: int
    closed: list[str]


class PostgresCheck:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __call__(self, tell: Tell) -> None:
        try:
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_S, command_timeout=CONNECT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            tell(unreachable(self._dsn, error))
            return
        try:
            asked_at_s = time.time()
            (row,) = await connection.fetch(ABOUT, list(TABLES))
            answered_at_s = time.time()
        finally:
            connection.terminate()
        about = About(**row)
        for finding in judged(self._dsn, about):
            tell(finding)
        tell(clock(SUBJECT, about.now_s, asked_at_s, answered_at_s))
        tell(await self._schema())

    async def _schema(self) -> Finding:
        try:
            return schema(await schema_state(self._dsn, timeout_s=CONNECT_S))
        except PenstockError as error:
            remedy = "put it right" if isinstance(error, ConfigurationError) else "try again"
            return Finding(SUBJECT, Level.PROBLEM, error.message, remedy)


def unreachable(dsn: str, error: Exception) -> Finding:
    told = f"cannot be reached at {without_password(dsn)}: {in_a_line(error)}"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return Finding(SUBJECT, Level.PROBLEM, told, "put user and password of PENSTOCK_POSTGRES_DSN right")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        remedy = "create the database, or put the name at the end of PENSTOCK_POSTGRES_DSN right"
        return Finding(SUBJECT, Level.PROBLEM, told, remedy)
    return Finding(SUBJECT, Level.PROBLEM, told, "start it, or put PENSTOCK_POSTGRES_DSN right")


def judged(dsn: str, about: About) -> list[Finding]:
    found = [Finding(SUBJECT, Level.OK, f"Postgres {about.version} answers at {without_password(dsn)}")]
    if about.major < OLDEST:
        told = f"Postgres {about.major} is older than what Penstock is made for"
        found.append(Finding(SUBJECT, Level.PROBLEM, told, f"use version {OLDEST} or newer"))
    if about.standby:
        found.append(Finding(SUBJECT, Level.PROBLEM, "it is a standby: nothing can be written", "name the primary"))
    if not about.creates:
        told = f"{about.name} may create no tables: `penstock migrate` needs another user"
        found.append(Finding(SUBJECT, Level.WARNING, told, "migrate as the owner of the schema"))
    if about.closed:
        told = f"{about.name} may not read and write {', '.join(about.closed)}"
        remedy = f"grant select, insert, update, delete on {', '.join(about.closed)} to {about.name}"
        found.append(Finding(SUBJECT, Level.PROBLEM, told, remedy))
    if about.connections > FULL * about.most_connections:
        told = f"{about.connections} of its {about.most_connections} connections are taken"
        found.append(Finding(SUBJECT, Level.WARNING, told, "raise max_connections, or run fewer processes"))
    return found


def schema(state: SchemaState) -> Finding:
    if state.trouble is not None:
        told, _, remedy = state.trouble.rpartition(": ")
        return Finding(SUBJECT, Level.PROBLEM, told or state.trouble, remedy if told else "")
    if state.unfinished:
        names = ", ".join(step.name for step in state.unfinished)
        doing = " A `penstock migrate` is at work." if state.migrating else ""
        told = f"its schema serves this version; not finished: {names}.{doing}"
        return Finding(SUBJECT, Level.WARNING, told, "run `penstock migrate` again")
    return Finding(SUBJECT, Level.OK, f"its schema is up to date: {state.steps[-1].name}")
