"""A bounded set of connections to Postgres. The one place where asyncpg's errors become ours."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import asyncpg

from runtime.logs import get_logger
from schemas.errors import ConfigurationError, InvalidInput, PenstockError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    _Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]

log = get_logger(__name__)

# What one row brings upon its statement, whatever the state of the server.
BAD_ROW: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

FAILED: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
DRIVER_ERRORS: Final = (*BAD_ROW, *FAILED)

# Planned anew each time: a plan kept from when a table was small would scan it after it has grown, and planning
# costs a group of calls next to nothing. No statement here is worth compiling.
SESSION_SETTINGS: Final = {"application_name": "penstock", "plan_cache_mode": "force_custom_plan", "jit": "off"}


# What no waiting mends: the address is wrong, not the moment.
_REFUSED: Final = (
    asyncpg.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


@contextmanager
def connecting() -> "Iterator[None]":
    """For the first connection: `postgres_errors`, but `ConfigurationError` where the address cannot be right."""
    with postgres_errors():
        try:
            yield
        except _REFUSED as error:
            raise ConfigurationError(f"PENSTOCK_POSTGRES_DSN: {str(error).splitlines()[0]}") from error


@contextmanager
def postgres_errors(*, perhaps_done: bool = False) -> "Iterator[None]":
    """Raise `InvalidInput` for what a row brought upon itself, `StoreUnavailable` for all else, the cause kept."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translated(error, perhaps_done=perhaps_done) from error


def translated(error: Exception, *, perhaps_done: bool = False) -> PenstockError:
    if isinstance(error, BAD_ROW):
        return InvalidInput("a value does not fit the store")
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
        return StoreUnavailable("the database lacks migrations of this version: run `penstock migrate`")
    return StoreUnavailable("the database is not available", perhaps_done=perhaps_done)


class Postgres:
    """At most `connections` connections, opened ahead, reopened when lost.

    `timeout_s` bounds each of: waiting for a free connection, connecting, a statement.
    """

    def __init__(self, dsn: str, *, connections: int, timeout_s: float = 5.0) -> None:
        self._dsn = dsn
        self._connections = connections
        self._timeout_s = timeout_s
        self._opened: _Pool | None = None
        # Between two statements: giving a connection back to the pool and taking it again costs more than a statement.
        self._spare: list[Connection] = []
        self._waiting = 0

    async def __aenter__(self) -> Self:
        """Raises `StoreUnavailable` if nobody answers, `ConfigurationError` if the database does not let us in."""
        with connecting():
            self._opened = await asyncpg.create_pool(
                self._dsn,
                min_size=self._connections,
                max_size=self._connections,
                timeout=self._timeout_s,
                command_timeout=self._timeout_s,
                server_settings=SESSION_SETTINGS,
                reset=_keep_session,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    while self._spare:
                        await self._release(self._spare.pop())
                    await self._opened.close()
            except (*FAILED, TimeoutError):
                self._opened.terminate()

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[Connection]":
        """Raises `StoreUnavailable`; for what fails once there is a connection, `perhaps_done`."""
        if self._opened is None:
            raise StoreUnavailable("the store is not open")
        connection = self._unused() or await self._acquire()
        done = False
        try:
            yield connection
            done = True
        except DRIVER_ERRORS as error:
            raise translated(error, perhaps_done=True) from error
        finally:
            if done and not self._waiting and not _is_lost(connection):
                self._spare.append(connection)
            else:
                await self._release(connection)

    def _unused(self) -> "Connection | None":
        """A spare one. Those that were lost meanwhile the pool has taken back, and opens anew."""
        while self._spare:
            connection = self._spare.pop()
            if not _is_lost(connection):
                return connection
        return None

    async def _acquire(self) -> "Connection":
        assert self._opened is not None  # noqa: S101 - asked by the one caller
        self._waiting += 1
        try:
            return await self._opened.acquire(timeout=self._timeout_s)
        except FAILED as error:
            raise translated(error) from error
        finally:
            self._waiting -= 1

    async def _release(self, connection: "Connection") -> None:
        try:
            if self._opened is not None:
                await self._opened.release(connection)
        except FAILED:  # it is closed, and opened anew for the next who asks
            log.debug("a connection could not be given back")

    @asynccontextmanager
    async def transaction(self) -> "AsyncIterator[Connection]":
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        async with self.connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *arguments)


def _is_lost(connection: "Connection") -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back
        return True


async def _keep_session(_: object) -> None:
    """Nothing here changes a session, so nothing is reset: that would be a round trip after every statement."""
