"""Connections that are kept, a pool for each origin: what a request costs does not grow with what hangs elsewhere."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpcore2

# Servers close what is idle after five seconds, many of them: a request that meets that is lost, and counts as failed.
KEPT_S: Final = 4.0
MOST_KEPT: Final = 10  # of one origin
# Each has connections open: jobs name as many origins as they like.
MOST_IDLE: Final = 200  # origins


class _Pool:
    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self.pool = pool
        self.requests = 0


class Connections:
    """`open_pool` makes a pool for one origin; `clock` tells seconds, those of the event loop."""

    def __init__(self, open_pool: Callable[[], httpcore2.AsyncConnectionPool], clock: Callable[[], float]) -> None:
        self._open_pool = open_pool
        self._clock = clock
        self._closing: asyncio.Task[None] | None = None
        self._pools: dict[str, _Pool] = {}
        self._idle_since: OrderedDict[str, float] = OrderedDict()  # the longest idle first

    @asynccontextmanager
    async def to(self, origin: str) -> AsyncIterator[httpcore2.AsyncConnectionPool]:
        used = self._pools.get(origin)
        if used is None:
            used = self._pools[origin] = _Pool(self._open_pool())
        self._idle_since.pop(origin, None)
        used.requests += 1
        try:
            yield used.pool
        except BaseException:
            # It may count a tunnel that broke while it was dug as one that is in use, for ever.
            if self._pools.get(origin) is used:
                del self._pools[origin]
            raise
        finally:
            used.requests -= 1
            if not used.requests:
                await self._rest(origin, used)
            await self._close_idle()

    async def _rest(self, origin: str, used: _Pool) -> None:
        if self._pools.get(origin) is used:
            self._idle_since[origin] = self._clock()
            if self._closing is None or self._closing.done():
                self._closing = asyncio.create_task(self._close_in_time(), name="idle connections")
        else:
            await used.pool.aclose()

    async def _close_in_time(self) -> None:
        """What is idle, though no other request comes that would do it."""
        while self._idle_since:
            await asyncio.sleep(next(iter(self._idle_since.values())) + KEPT_S - self._clock())
            await self._close_idle()

    async def _close_idle(self) -> None:
        before = self._clock() - KEPT_S
        while self._idle_since and (
            len(self._idle_since) > MOST_IDLE or next(iter(self._idle_since.values())) <= before
        ):
            origin, _ = self._idle_since.popitem(last=False)
            await self._pools.pop(origin).pool.aclose()

    async def aclose(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        for used in list(self._pools.values()):
            await used.pool.aclose()
        self._pools.clear()
        self._idle_since.clear()
