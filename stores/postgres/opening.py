"""How stores on Postgres open and close."""

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Self

from stores.postgres.calls import Postgres
from stores.postgres.migrations.sessions import CLIENT


class Parts:
    """Opens its parts in order, all or none, and closes them in reverse. Use as `async with`."""

    def __init__(self, *parts: AbstractAsyncContextManager[Any]) -> None:
        self._parts = parts
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for part in self._parts:
                await opening.enter_async_context(part)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()


class PostgresStore(Parts):
    """A store on connections of its own.

    `timeout_s` bounds each wait for a connection and each statement; not `ahead`, a connection is opened by who needs
    it first.
    """

    def __init__(
        self, dsn: str, *, connections: int = 1, timeout_s: float = 5.0, role: str = CLIENT, ahead: bool = True
    ) -> None:
        self._postgres = Postgres(dsn, connections=connections, timeout_s=timeout_s, role=role, ahead=ahead)
        super().__init__(self._postgres)
