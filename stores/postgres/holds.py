"""The holds in Postgres: their truth, the audit log, and the jobs that wait."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from schemas.hold_documents import encode_hold
from schemas.holds import Hold, Meant, ended_by
from stores.holds import MOST_COUNTED, RELEASE, AuditEntry, Ended, Place, refuse_too_many
from stores.postgres.calls import Postgres
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.places import Places
from stores.postgres.rows import error_json, kept_until, key_columns
from stores.postgres.webhooks.events import TOLD, telling
from stores.postgres.webhooks.listeners import Listeners
from stores.protocols import JobKey
from stores.validation import at_most

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

# Any number that nobody else takes as the first of an advisory lock's two.
_TELLING: Final = 0x686F6C64
_LOCK: Final = "select pg_advisory_xact_lock($1, hashtext($2))"
_COUNT_HOLDS: Final = "select count(*) from holds"
_ADD: Final = "insert into holds (id, created_at, document) values ($1, $2, $3::json)"
_REMOVE: Final = "delete from holds where id = $1 returning document"
_LOG: Final = """
insert into audit_log (at, by, verb, subject, note, document, matched) values ($1, $2, $3, $4, $5, $6::json, $7)
"""
_FIND: Final = "select document from holds where id = $1"
_ALL: Final = "select document from holds order by created_at, id"
_AUDIT: Final = """
select id, at, by, verb, note, document, matched from audit_log where id < $1 order by id desc limit $2
"""
_QUEUED: Final = "j.completed_at is null and j.status = 'queued'"
_END: Final = telling(
    f"""
with queued as (
    select j.tenant, j.id
    from unnest($1::text[], $2::text[]) as k (tenant, id) join {{jobs}} j using (tenant, id)
    where {_QUEUED}
    order by j.tenant, j.id
    for no key update of j
)
update {{jobs}} j set status = 'canceled', completed_at = $3::timestamptz, error = $4::json,
    keep_until = {kept_until("$3::timestamptz")}
from queued where j.tenant = queued.tenant and j.id = queued.id
returning {TOLD}
""",
    answer="j.tenant, j.id",
    now="$3::timestamptz",
)
# What was written once is not held against the rules of today.
_decoder: Final = msgspec.json.Decoder(Hold)


class PostgresHolds(PostgresStore):
    """`HoldStore`, `HoldNews` and `WaitingJobs` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement. Telling has a connection of its own, since it
    waits for Kafka.
    """

    def __init__(self, dsn: str, *, connections: int = 1, timeout_s: float = 5.0, role: str = CLIENT) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role)
        self._telling = Postgres(dsn, connections=1, timeout_s=timeout_s, role=role)
        self._places = Places(self._postgres)
        self._listeners = Listeners(self._postgres)
        self._parts += (self._telling, self._places)

    async def add(self, hold: Hold, matched: int) -> None:
        async with self._postgres.transaction() as connection:
            refuse_too_many(await connection.fetchval(_COUNT_HOLDS))
            document = encode_hold(hold).decode()
            await connection.execute(_ADD, hold.id, hold.created_at, document)
            await _log(connection, hold, hold.created_at, hold.created_by, hold.action, hold.reason, matched)

    async def remove(self, hold_id: str, by: str, at: datetime, *, verb: str = RELEASE, note: str = "") -> Hold | None:
        async with self._postgres.transaction() as connection:
            document = await connection.fetchval(_REMOVE, hold_id)
            if document is None:
                return None
            hold = _decoder.decode(document)
            await _log(connection, hold, at, by, verb, note, 0)
            return hold

    async def all(self) -> Sequence[Hold]:
        return [_decoder.decode(row["document"]) for row in await self._postgres.fetch(_ALL)]

    async def audit(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        rows = await self._postgres.fetch(_AUDIT, at_most(before), limit)
        return [
            AuditEntry(
                id=row["id"],
                at=row["at"],
                by=row["by"],
                verb=row["verb"],
                note=row["note"],
                hold=_decoder.decode(row["document"]),
                matched=row["matched"],
            )
            for row in rows
        ]

    @asynccontextmanager
    async def telling(self, hold_id: str) -> AsyncIterator[Hold | None]:
        async with self._telling.transaction() as connection:
            await connection.execute(_LOCK, _TELLING, hold_id)
            document = await connection.fetchval(_FIND, hold_id)
            yield None if document is None else _decoder.decode(document)

    async def count(self, meant: Meant, *, until: datetime | None = None) -> int:
        condition, arguments = _conditions(meant, until)
        statement = f"select count(*) from (select 1 from jobs j where {condition} limit {MOST_COUNTED}) as counted"
        (row,) = await self._postgres.fetch(statement, *arguments)
        return int(row["count"])

    async def end(self, hold: Hold, now: datetime, *, after: Place | None, limit: int) -> Ended:
        condition, arguments = _conditions(hold, hold.created_at)
        if after is not None:
            condition += f" and (j.expires_at, j.id) > (${len(arguments) + 1}, ${len(arguments) + 2})"
            arguments += [*after]
        statement = f"""
select j.tenant, j.id, j.expires_at from jobs j where {condition} order by j.expires_at, j.id limit {limit:d}
"""
        rows = await self._postgres.fetch(statement, *arguments)
        keys = [JobKey(row["tenant"], row["id"]) for row in rows]
        ended: list[JobKey] = []
        for place, some in await self._listeners.grouped(self._places.grouped(sorted(keys))):
            found = await self._postgres.fetch(_END[place], *key_columns(some), now, error_json(ended_by(hold).body()))
            ended += [JobKey(row["tenant"], row["id"]) for row in found]
        return Ended(ended, Place(rows[-1]["expires_at"], rows[-1]["id"]) if len(rows) == limit else None)


def _conditions(meant: Meant, until: datetime | None) -> tuple[str, list[Any]]:
    """What is asked of a queued job `j`, and the arguments to it."""
    arguments: list[Any] = list(meant.given.values())
    wanted = [f"j.{name} = ${number}" for number, name in enumerate(meant.given, 1)]
    if until is not None:
        arguments.append(until)
        wanted.append(f"j.created_at <= ${len(arguments)}")
    return " and ".join([_QUEUED, *wanted]), arguments


async def _log(connection: "Connection", hold: Hold, at: datetime, by: str, verb: str, note: str, matched: int) -> None:
    await connection.execute(_LOG, at, by, verb, hold.id, note, encode_hold(hold).decode(), matched)
