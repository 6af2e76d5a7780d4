"""A purge of all tables, step by step, by one process at a time."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from schemas.errors import PenstockError
from stores.postgres.calls import Postgres
from stores.postgres.errors import DRIVER_ERRORS, translated
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.places import in_each_place
from stores.postgres.purging.rule import Rule
from stores.postgres.purging.rules import rules
from stores.protocols import Purged

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

# Any number that nobody else takes for an advisory lock in this database.
_LOCK: Final = 0x70656E7075726765
_TRY_LOCK: Final = "select pg_try_advisory_lock($1)"
# What an index can tell is not looked for in all of a table, whatever its statistics are. And nobody waits until the
# disk has what went: after a crash it is there again, and goes again.
_SESSION: Final = "set enable_seqscan = off; set synchronous_commit = off"
# Of those first written in each table: the oldest, as long as they are purged in order.
_FIRST_ENDS: Final = in_each_place("(select completed_at from {jobs} where completed_at is not null limit 100)")
_OLDEST_END: Final = f"select min(completed_at) from ({' union all '.join(_FIRST_ENDS)}) as first"


class PostgresPurging:
    """`Purging` on Postgres, over a connection that lasts as long as a purge. `timeout_s` bounds each statement: a day
    of jobs that was never looked through may take a while."""

    def __init__(self, dsn: str, retention: timedelta, *, timeout_s: float = 600.0, role: str = CLIENT) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._role = role
        self._rules = rules(retention)

    async def purge(self, now: datetime) -> AsyncGenerator[Purged]:
        async with self._postgres() as postgres, postgres.connection() as connection:
            if not await connection.fetchval(_TRY_LOCK, _LOCK):
                return  # another sink is at it; the lock ends with its connection
            await connection.execute(_SESSION)
            async with aclosing(in_turn(self._rules, connection, now)) as steps:
                async for purged in steps:
                    yield purged

    async def oldest_end(self) -> datetime | None:
        async with self._postgres() as postgres:
            (row,) = await postgres.fetch(_OLDEST_END)
        oldest: datetime | None = row[0]
        return oldest

    def _postgres(self) -> Postgres:
        return Postgres(self._dsn, connections=1, timeout_s=self._timeout_s, role=self._role)


async def in_turn(rules: Iterable[Rule], connection: "Connection", now: datetime) -> AsyncGenerator[Purged]:
    """A step of each rule, and again of each that had one, until none has: a long walk holds nobody up."""
    async with AsyncExitStack() as begun:
        steps_of = [await begun.enter_async_context(aclosing(_steps(rule, connection, now))) for rule in rules]
        while steps_of:
            for steps in tuple(steps_of):
                purged = await anext(steps, None)
                if purged is None:
                    steps_of.remove(steps)
                else:
                    yield purged


async def _steps(rule: Rule, connection: "Connection", now: datetime) -> AsyncGenerator[Purged]:
    """A table that cannot be purged does not keep the others from it, as long as there is a connection."""
    try:
        async for rows in rule.steps(connection, now):
            yield Purged(rule.table, rows)
    except DRIVER_ERRORS as error:
        if connection.is_closed():
            raise
        failure: PenstockError = translated(error)
        failure.__cause__ = error
        yield Purged(rule.table, 0, failure)
