"""Noticing that a waiting client has gone, so that nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import Receive


@asynccontextmanager
async def noticed(receive: Receive, wake: Callable[[], None]) -> AsyncIterator[asyncio.Event]:
    """An event that is set, and `wake` called, once the client closes the connection. The body must have been read."""
    gone = asyncio.Event()

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        wake()

    listener = asyncio.create_task(listen())
    try:
        yield gone
    finally:
        listener.cancel()
