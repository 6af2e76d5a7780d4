"""Connections that belong to the lanes of a `Grouping`: no pool is asked, and each statement is prepared once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import asyncpg

from schemas.errors import StoreUnavailable
from stores.postgres.pool import BAD_ROW, FAILED, SESSION_SETTINGS, connecting, postgres_errors

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Prepared: TypeAlias = PreparedStatement[asyncpg.Record]


class Lanes:
    """As many connections as there are lanes, opened ahead, opened anew by the next statement where one was lost.

    `timeout_s` bounds each of: connecting, a statement. At most `lanes` statements are to be run at once.
    """

    def __init__(self, dsn: str, *, lanes: int, timeout_s: float) -> None:
        self._all = [_Lane(dsn, timeout_s) for _ in range(lanes)]
        self._free: list[_Lane] = []

    async def __aenter__(self) -> Self:
        """Raises `StoreUnavailable` if nobody answers, `ConfigurationError` if the database does not let us in."""
        try:
            with connecting():
                for lane in self._all:
                    await lane.connect()
        except BaseException:
            await self.__aexit__()
            raise
        self._free = list(self._all)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._free.clear()
        await asyncio.gather(*(lane.close() for lane in self._all))

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Run one statement, by itself.

        Raises `InvalidInput` for what a row brought upon itself, else `StoreUnavailable`, `perhaps_done` once there was
        a connection.
        """
        if not self._free:
            raise StoreUnavailable("the store is not open")
        lane = self._free.pop()
        try:
            return await lane.fetch(sql, arguments)
        finally:
            self._free.append(lane)


class _Lane:
    def __init__(self, dsn: str, timeout_s: float) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._prepared: dict[str, Prepared] = {}

    async def connect(self) -> None:
        self._prepared.clear()
        self._connection = await asyncpg.connect(
            self._dsn, timeout=self._timeout_s, command_timeout=self._timeout_s, server_settings=SESSION_SETTINGS
        )

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=self._timeout_s)
            except (*FAILED, TimeoutError):
                connection.terminate()

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            with postgres_errors():
                await self.connect()
        with postgres_errors(perhaps_done=True):
            try:
                prepared = self._prepared.get(sql) or await self._prepare(sql)
                return await prepared.fetch(*arguments)
            except BAD_ROW:
                raise  # of this statement alone
            except BaseException:
                self._drop()
                raise

    async def _prepare(self, sql: str) -> "Prepared":
        assert self._connection is not None  # noqa: S101 - asked by the one caller
        prepared = self._prepared[sql] = await self._connection.prepare(sql)
        return prepared

    def _drop(self) -> None:
        """What state it is in, nobody knows: a statement may still run on it."""
        if self._connection is not None:
            with suppress(*FAILED, asyncio.CancelledError):
                self._connection.terminate()
            self._connection = None
