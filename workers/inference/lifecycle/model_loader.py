"""Bringing weights into memory and out of it while others are run."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from workers.inference.backends import Backend
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.execution.failures import DeviceFailed
from workers.inference.lifecycle.model_cache import ModelCache, ModelSlot, close
from workers.inference.models.snapshot import Found

CLOSE_WITHIN_S: Final = 2.0


class ModelLoader:
    """`running` is the thread in which models run and weights come and go.

    Without a bound on memory, a version is loaded in the thread `loading`, beside what runs, and takes its place
    between two micro-batches. With a bound it is loaded where others make room for it: in `running`.
    """

    def __init__(self, cache: ModelCache, *, bounded: bool, running: InferenceThread, loading: InferenceThread) -> None:
        self.cache = cache
        self._bounded = bounded
        self._running = running
        self._loading = loading

    async def bring(self, slot: ModelSlot) -> None:
        """Have the version in memory, if there is room. Raises `ConfigurationError` where it cannot be served."""
        self.cache.check_size(slot.found)
        if self._bounded:
            await self._running.submit(partial(self.cache.load_if_room, slot), status_if_left=0)
        else:
            await self._put(slot, slot.found)

    async def swap(self, slot: ModelSlot, found: Found) -> None:
        """Run what was `found` from the next micro-batch on. Raises as `bring`; then what was there before stays,
        unless memory is bounded: there is no room for both."""
        self.cache.check_size(found)
        if not self._bounded:
            await self._put(slot, found)
            return
        await self.drop(slot)
        slot.renew(found)
        await self.bring(slot)

    async def drop(self, slot: ModelSlot) -> None:
        """Free what the version takes, after the micro-batch that runs."""
        await self._running.submit(partial(self.cache.drop, slot))

    async def close(self) -> None:
        """Free what all versions take, their private copies on disk among it; where one still runs, not for long."""
        with suppress(TimeoutError, DeviceFailed):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._running.submit(self.cache.drop_all, status_if_left=None)

    async def _put(self, slot: ModelSlot, found: Found) -> None:
        backend = await self._loading.submit(partial(self.cache.loaded, found), status_if_left=0)
        await self._running.submit(partial(self._take_over, slot, found, backend))

    def _take_over(self, slot: ModelSlot, found: Found, backend: Backend) -> None:
        """The check is the first run in this thread, in which libraries set up what they keep for each."""
        try:
            self.cache.check(slot, found, backend)
        except BaseException:
            close(backend, found.version.name)
            raise
        self.cache.drop(slot)
        slot.renew(found)
        self.cache.put(slot, backend)
