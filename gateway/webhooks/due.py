"""Looking for all who wait at endpoints that are pulled whether something is due: one small statement a time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from gateway.waiters import Waiters
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.protocols import JobKey
from stores.webhooks import PulledEvents

log = get_logger(__name__)

LOOK_EVERY_S: Final = 0.25


class DueLook:
    def __init__(
        self,
        store: PulledEvents,
        waiters: Waiters,
        now: Callable[[], datetime],
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._store = store
        self._waiters = waiters
        self._now = now
        self._every_s = every_s
        self._keys: Counter[JobKey] = Counter()
        self._some = asyncio.Event()
        self._is_told = False

    @contextmanager
    def looking(self, key: JobKey) -> Iterator[None]:
        """Of those who wait for the key, an endpoint's, one is woken when something is due there."""
        self._keys[key] += 1
        self._some.set()
        try:
            yield
        finally:
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]

    async def run(self) -> None:
        """Run until canceled. Asks nothing while nobody waits."""
        while True:
            if not self._keys:
                self._some.clear()
            await self._some.wait()
            await asyncio.sleep(self._every_s)
            await self._look()

    async def _look(self) -> None:
        keys = {key.id: key for key in self._keys}
        try:
            due = await self._store.due(list(keys), self._now()) if keys else ()
        except StoreUnavailable as error:
            if not self._is_told:
                log.warning("nobody is told that events are due", waiting=len(keys), reason=error.message)
            self._is_told = True
            return
        self._is_told = False
        for endpoint_id in due:
            self._waiters.wake_one(keys[endpoint_id])  # who takes as much as it may wakes the next
