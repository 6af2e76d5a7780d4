"""Uvicorn with our limits, and without its signal handlers: the process has its own."""

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import uvicorn

from runtime.http_limits import CONNECTIONS, Connections
from runtime.http_protocol import LimitedProtocol

TICKS_A_SECOND = 10  # uvicorn's


class LimitedServer(uvicorn.Server):
    """Serves until `should_exit` is set: `await server.serve(sockets=[...])`."""

    def __init__(self, app: Any, connections: Connections, *, drain_timeout_s: int) -> None:
        """Running requests may take `drain_timeout_s` seconds more at the end."""
        self._connections = connections
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                http=cast(type[asyncio.Protocol], partial(LimitedProtocol, connections)),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here depends on who the client says it is
                timeout_graceful_shutdown=drain_timeout_s,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SECOND == 0:
            self._connections.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def show(connections: Connections) -> None:
    """As a metric: of a process with two servers, the one that serves clients."""
    CONNECTIONS.set_function(lambda: len(connections))
