"""The in-memory twin of the signals: one object is both ends. For tests."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from runtime.clock import Clock, now_utc
from schemas.errors import StoreUnavailable
from schemas.jobs import Terminal
from stores.protocols import JobKey, by_instance


class MemorySignals:
    """`Signals` and `News` in one. An iterator that nobody reads keeps the latest `capacity` news.

    While `down` is true, announcements raise `StoreUnavailable` and `connected` is false.
    """

    def __init__(self, clock: Clock = now_utc, *, capacity: int = 1000) -> None:
        self.down = False
        self._clock = clock
        self._capacity = capacity
        self._listeners: defaultdict[str, set[asyncio.Queue[Any]]] = defaultdict(set)
        self.cancels: list[tuple[JobKey, datetime]] = []

    async def announce_done(self, keys: Sequence[JobKey], answers: Sequence[Terminal] = ()) -> None:
        for instance, ends in by_instance(answers).items():
            self._tell(instance, ends)
        if keys:
            self._tell("done", list(keys))

    async def announce_running(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        if keys:
            self._tell("running", (list(keys), started_at))

    async def announce_cancel(self, key: JobKey, expires_at: datetime) -> None:
        self._tell("canceled", (key, expires_at))
        self.cancels = [cancel for cancel in self.cancels if cancel[1] > self._clock()]
        self.cancels.append((key, expires_at))

    @property
    def connected(self) -> bool:
        return not self.down and any(self._listeners.values())

    async def done(self, instance: str | None = None) -> AsyncIterator[Sequence[JobKey | Terminal]]:
        kinds = ["done"] if instance is None else ["done", instance]
        async for told in self._listen(kinds):
            yield told

    async def running(self) -> AsyncIterator[tuple[Sequence[JobKey], datetime]]:
        async for news in self._listen(["running"]):
            yield news

    async def canceled(self) -> AsyncIterator[tuple[JobKey, datetime]]:
        async for key, expires_at in self._listen(["canceled"], *self.cancels):
            if expires_at > self._clock():
                yield key, expires_at

    def _tell(self, kind: str, news: Any) -> None:
        if self.down:
            raise StoreUnavailable("the signals are down")
        for queue in self._listeners.get(kind, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(news)

    async def _listen(self, kinds: Sequence[str], *older: Any) -> AsyncIterator[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue(self._capacity)
        for kind in kinds:
            self._listeners[kind].add(queue)
        try:
            for news in older:
                yield news
            while True:
                yield await queue.get()
        finally:
            for kind in kinds:
                self._listeners[kind].discard(queue)
