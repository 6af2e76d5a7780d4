"""Bringing weights into memory and out of it while others are run."""

from functools import partial

from workers.inference.backends import Backend
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.lifecycle.model_cache import ModelCache, ModelSlot, close
from workers.inference.models.snapshot import Found


class ModelLoader:
    """`running` is the thread in which models run and weights come and go.

    Without a bound on memory, a version is loaded in the thread `loading`, beside what runs, and takes its place
    between two micro-batches. With a bound it is loaded where others make room for it: in `running`.
    """

    def __init__(
        self, residents: ModelCache, *, bounded: bool, running: InferenceThread, loading: InferenceThread
    ) -> None:
        self.residents = residents
        self._bounded = bounded
        self._running = running
        self._loading = loading

    async def bring(self, resident: ModelSlot) -> None:
        """Have the version in memory, if there is room. Raises `ConfigurationError` where it cannot be served."""
        self.residents.check_size(resident.found)
        if self._bounded:
            await self._running.submit(partial(self.residents.load_if_room, resident), status_if_left=0)
        else:
            await self._put(resident, resident.found)

    async def swap(self, resident: ModelSlot, found: Found) -> None:
        """Run what was `found` from the next micro-batch on. Raises as `bring`; then what was there before stays,
        unless memory is bounded: there is no room for both."""
        self.residents.check_size(found)
        if not self._bounded:
            await self._put(resident, found)
            return
        await self.drop(resident)
        resident.renew(found)
        await self.bring(resident)

    async def drop(self, resident: ModelSlot) -> None:
        """Free what the version takes, after the micro-batch that runs."""
        await self._running.submit(partial(self.residents.drop, resident))

    async def _put(self, resident: ModelSlot, found: Found) -> None:
        backend = await self._loading.submit(partial(self.residents.loaded, found), status_if_left=0)
        await self._running.submit(partial(self._take_over, resident, found, backend))

    def _take_over(self, resident: ModelSlot, found: Found, backend: Backend) -> None:
        """The check is the first run in this thread, in which libraries set up what they keep for each."""
        try:
            self.residents.check(resident, found, backend)
        except BaseException:
            close(backend, found.version.name)
            raise
        self.residents.drop(resident)
        resident.renew(found)
        self.residents.put(resident, backend)
