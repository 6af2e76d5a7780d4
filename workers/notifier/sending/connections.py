"""Connections that are kept, a pool for each origin: what a request costs does not grow with what hangs elsewhere."""

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
    """`open_pool` makes a pool for one origin; `clock` tells seconds."""

    def __init__(self, open_pool: Callable[[], httpcore2.AsyncConnectionPool], clock: Callable[[], float]) -> None:
        self._open_pool = open_pool
        self._clock = clock
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
        finally:
            used.requests -= 1
            if not used.requests:
                self._idle_since[origin] = self._clock()
            await self._close_idle()

    async def _close_idle(self) -> None:
        before = self._clock() - KEPT_S
        while self._idle_since and (
            len(self._idle_since) > MOST_IDLE or next(iter(self._idle_since.values())) <= before
        ):
            origin, _ = self._idle_since.popitem(last=False)
            await self._pools.pop(origin).pool.aclose()

    async def aclose(self) -> None:
        for used in list(self._pools.values()):
            await used.pool.aclose()
        self._pools.clear()
        self._idle_since.clear()
