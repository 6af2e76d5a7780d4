"""How each kind of migration is applied."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import asyncpg

from schemas.errors import StoreUnavailable
from stores.postgres.migrations.files import Kind, Migration, Statement
from stores.postgres.migrations.indexes import drop_invalid_index, watch
from stores.postgres.migrations.ledger import add_rows, write_done, write_started
from stores.postgres.migrations.sessions import ConnectedRole, connected_roles

if TYPE_CHECKING:
    from stores.postgres.migrations.sessions import Connection

T = TypeVar("T")

# What another session's lock may cost us; the same may go well a moment later.
_BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
# For what may take as long as it takes.
_DAYS_S: Final = 30 * 86_400.0


class Pace(NamedTuple):
    """How considerate we are of those who work.

    A statement that must have a table to itself waits for it for `lock_timeout_s`, since everybody waits behind it;
    then it lets them pass, and tries again after each of `pauses_s`. A backfill rests after each step `rest` times as
    long as the step took. `poll_s`: how often we look whether somebody else has ended; `tell_s`: how often we tell of
    what takes long.
    """

    lock_timeout_s: float = 1.0
    pauses_s: Sequence[float] = (1.0, 2.0, 4.0, *[8.0] * 6)
    rest: float = 1.0
    poll_s: float = 0.5
    tell_s: float = 5.0


class Applying:
    """One run over one session. `timeout_s` bounds each statement of those kinds that are quick."""

    def __init__(
        self,
        connection: "Connection",
        dsn: str,
        *,
        timeout_s: float,
        told: Callable[[str], None],
        wait_for_roles: bool,
        pace: Pace,
    ) -> None:
        self._connection = connection
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._told = told
        self._wait_for_roles = wait_for_roles
        self._pace = pace

    async def apply(self, migration: Migration) -> bool:
        """Returns whether it is done; what contracts may be left for later."""
        match migration.kind:
            case Kind.EXPAND:
                await self._with_patience(lambda: self._expand(migration))
            case Kind.CONCURRENT:
                await self._concurrent(migration)
            case Kind.BACKFILL:
                await self._backfill(migration)
            case Kind.CONTRACT:
                return await self._contract_if_it_may(migration)
        return True

    async def _expand(self, migration: Migration) -> None:
        async with self._transaction():
            await self._execute_all(migration)

    async def _concurrent(self, migration: Migration) -> None:
        """Each statement finds out by itself whether it was done before: what was cut off begins again."""
        await write_started(self._connection, migration)
        async with watch(self._dsn, self._connection, migration.name, self._told, self._pace.tell_s):
            for statement in migration.statements:
                await self._with_patience(partial(self._beside, migration, statement))
        await write_done(self._connection, migration)

    async def _beside(self, migration: Migration, statement: Statement) -> None:
        with naming(migration, statement):
            await drop_invalid_index(self._connection, statement.sql)
            # What is done concurrently waits for others' transactions, but nobody waits behind it.
            timeout_ms = 0 if "concurrently" in statement.sql.lower() else self._lock_timeout_ms
            await self._connection.execute(f"set lock_timeout = {timeout_ms}")
            await self._connection.execute(statement.sql, timeout=_DAYS_S)

    async def _backfill(self, migration: Migration) -> None:
        (statement,) = migration.statements
        await write_started(self._connection, migration)
        told_s = time.monotonic()
        rows = 1
        while rows:
            began_s = time.monotonic()
            rows, changed = await self._with_patience(lambda: self._step(migration, statement))
            now_s = time.monotonic()
            if now_s - told_s >= self._pace.tell_s:
                told_s = now_s
                self._told(f"{migration.name}: {changed:,} rows so far")
            await asyncio.sleep((now_s - began_s) * self._pace.rest)
        await write_done(self._connection, migration)

    async def _step(self, migration: Migration, statement: Statement) -> tuple[int, int]:
        """Returns how many rows it changed, and how many all steps together."""
        async with self._transaction():
            with naming(migration, statement):
                tag = await self._connection.execute(statement.sql, timeout=_DAYS_S)
            rows = int(tag.split()[-1])  # as in "UPDATE 1000"
            return rows, await add_rows(self._connection, migration, rows)

    async def _contract_if_it_may(self, migration: Migration) -> bool:
        told = ""
        while roles := await self._with_patience(lambda: self._contract(migration)):
            in_the_way = ", ".join(map(str, roles))
            if not self._wait_for_roles:
                self._told(
                    f"left {migration.name} for later: it takes away what older roles use ({in_the_way}). "
                    "Once they have ended, run `penstock migrate` again"
                )
                return False
            if told != in_the_way:
                told = in_the_way
                self._told(f"{migration.name} waits for older roles to end: {in_the_way}")
            await asyncio.sleep(self._pace.poll_s)
        return True

    async def _contract(self, migration: Migration) -> Sequence[ConnectedRole]:
        """Apply it, or return who is in the way.

        A role asks the ledger on each connection before anything else (`refuse_contracted`). So whoever cannot be seen
        here yet, once the ledger is locked, will ask after this transaction, and be refused.
        """
        async with self._transaction():
            with naming(migration):
                await self._connection.execute("lock table schema_migrations")
            needs = migration.needs or migration.number
            older = [role for role in await connected_roles(self._connection) if role.newest < needs]
            if not older:
                await self._execute_all(migration)
            return older

    async def _execute_all(self, migration: Migration) -> None:
        await write_started(self._connection, migration)
        for statement in migration.statements:
            with naming(migration, statement):
                await self._connection.execute(statement.sql, timeout=self._timeout_s)
        await write_done(self._connection, migration)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            await self._connection.execute(f"set local lock_timeout = {self._lock_timeout_ms}")
            yield

    async def _with_patience(self, work: Callable[[], Awaitable[T]]) -> T:
        for pause_s in self._pace.pauses_s:
            try:
                return await work()
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, _BUSY):
                    raise
                self._told(f"{error.message}. Trying again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
        return await work()

    @property
    def _lock_timeout_ms(self) -> int:
        return int(self._pace.lock_timeout_s * 1000)


@contextmanager
def naming(migration: Migration, statement: Statement | None = None) -> Iterator[None]:
    """Raises `StoreUnavailable` for what goes wrong: the file, the line of the statement, and what Postgres said."""
    place = f"{migration.name}, line {statement.line}" if statement else migration.name
    try:
        yield
    except asyncpg.PostgresError as error:
        raise StoreUnavailable(f"{place}: {' '.join(str(error).split())}") from error
    except TimeoutError as error:
        raise StoreUnavailable(f"{place}: it takes too long") from error
