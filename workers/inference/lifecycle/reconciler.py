"""What this worker serves, brought in line with its repository and with what operators want, again and again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from producers.model_states import ModelStates
from runtime.backoff import delays_s
from runtime.lifecycle import SideTasks
from runtime.logs import get_logger
from schemas.errors import ConfigurationError, PenstockError, Unavailable
from schemas.model_states import WantedState
from workers.inference import metrics
from workers.inference.execution.failures import DeviceFailed
from workers.inference.lifecycle.model_cache import ModelSlot
from workers.inference.lifecycle.model_loader import ModelLoader
from workers.inference.lifecycle.plan import ServedSpec, StableSnapshot, changes, is_unloaded
from workers.inference.lifecycle.watcher import RepositoryWatch
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)

# Delays until a version that answered wrongly is loaded afresh, from the first to the longest.
FIRST_RELOAD_S: Final = 5.0
LAST_RELOAD_S: Final = 300.0

Must = Callable[[ModelVersion], bool]


class Announcer(Protocol):
    """Tells the catalog."""

    async def announce(self, versions: Sequence[ModelVersion]) -> None:
        """Have lanes for the versions, then entries. Returns when all of it is there."""

    async def take_back(self, version: ModelVersion) -> None:
        """Raises `Unavailable`."""


class Service(Protocol):
    """A version whose lanes are served, as `served_version.ServedVersion`."""

    @property
    def resident(self) -> ModelSlot: ...

    @property
    def absent(self) -> list[str]: ...

    def start(self) -> None: ...

    def leave(self) -> None: ...

    async def left(self) -> None: ...

    async def forgotten(self) -> None: ...


class ModelReconciler:
    """`serve` makes a version's lanes; `interval_s` is between two looks at the repository, 0 for none."""

    def __init__(
        self,
        watch: RepositoryWatch,
        weights: ModelLoader,
        announcer: Announcer,
        serve: Callable[[ModelSlot], Service],
        side: SideTasks,
        *,
        interval_s: float,
    ) -> None:
        self._watch = watch
        self._weights = weights
        self._announcer = announcer
        self._serve = serve
        self._side = side
        self._interval_s = interval_s
        self._states = ModelStates()
        self._served: dict[str, Service] = {}
        self._known: dict[str, ServedSpec] = {}
        self._failed: dict[str, ServedSpec] = {}
        self._leaving: set[Service] = set()
        self._wrong: list[ModelSlot] = []
        self._out: dict[str, Iterator[float]] = {}  # with the delays until it is loaded again
        self._asked: set[str] = set()
        self._heard = asyncio.Event()

    def hear(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the topic that says what is wanted."""
        self._states.apply(key, value)
        self._asked.add(key.decode("utf-8", "replace"))
        self._heard.set()

    def take_out(self, resident: ModelSlot) -> None:
        """Serve the version no more, since it answers wrongly, until a fresh load answers rightly."""
        self._wrong.append(resident)
        self._heard.set()

    @property
    def out_of_service(self) -> list[str]:
        """Versions that answered wrongly and are not served."""
        return sorted(self._out)

    @property
    def absent(self) -> list[str]:
        """The lanes that should be served and are not yet."""
        return [lane for version in self._served.values() for lane in version.absent]

    async def start(self, must: Must) -> None:
        """Serve what is there. Raises `ConfigurationError` where a version cannot be loaded for which `must` holds, or
        where none can."""
        sight = await asyncio.to_thread(self._watch.look)
        if sight is None:
            raise ConfigurationError("the model repository cannot be read")
        await self._turn(sight, must)
        if self._failed and not self._served:
            raise ConfigurationError(f"none of {', '.join(self._failed)} can be loaded")

    async def follow(self) -> None:
        """Run until canceled."""
        while True:
            look = self._watch.look if await self._interval_is_over() else self._watch.glance
            self._take_out_wrong()
            sight = await asyncio.to_thread(look)
            if sight is not None:
                await self._turn(sight)

    async def leave(self) -> None:
        """Leave the groups of all lanes, at the same time; returns when they are left."""
        for version in self._served.values():
            version.leave()
        await asyncio.gather(*(version.left() for version in {*self._served.values(), *self._leaving}))

    async def _interval_is_over(self) -> bool:
        """Whether it is; else something is wanted before."""
        try:
            async with asyncio.timeout(self._interval_s or None):
                await self._heard.wait()
        except TimeoutError:
            return True
        self._heard.clear()
        return False

    async def _turn(self, sight: StableSnapshot, must: Must = lambda _: False) -> None:
        asked, self._asked = self._asked, set()
        # Who asks for a version says that it is complete.
        sight = sight._replace(ready=sight.ready | (asked & sight.now.found.keys()))
        self._forget_out(sight)
        to_do = changes(self._known, self._failed, sight, self._wanted)
        for name in to_do.leave:
            await self._stop_serving(name)
        swapped = [known for known in to_do.swap if await self._try(known, self._swap(known), must)]
        new = [(known, ModelSlot(known.found)) for known in [*to_do.load, *to_do.rebuild]]
        loaded = [(known, each) for known, each in new if await self._try(known, self._weights.bring(each), must)]
        await self._announce([*to_do.announce, *swapped, *(known for known, _ in loaded)])
        for known, resident in loaded:
            await self._start_serving(known, resident)

    async def _try(self, known: ServedSpec, loading: Awaitable[None], must: Must) -> bool:
        """Whether the version could be loaded."""
        version = known.found.version
        try:
            await loading
        except DeviceFailed:
            raise
        except Exception as error:  # a model's own code among other things
            reason = error.message if isinstance(error, PenstockError) else repr(error)
            if must(version):
                raise ConfigurationError(reason) from error
            log.error("model left out", model=version.name, reason=reason)
            self._failed[version.name] = known
            self._try_again_later(version.name)
            return False
        self._failed.pop(version.name, None)
        return True

    async def _swap(self, known: ServedSpec) -> None:
        name = known.found.version.name
        log.warning("files of a served version have changed: they are loaded in its place", model=name)
        await self._weights.swap(self._served[name].resident, known.found)
        self._known[name] = known

    async def _announce(self, all_known: Iterable[ServedSpec]) -> None:
        versions = {known.found.version.name: known for known in all_known}
        if versions:
            await self._announcer.announce([known.found.version for known in versions.values()])
        self._known.update({name: known for name, known in versions.items() if name in self._served})

    async def _start_serving(self, known: ServedSpec, resident: ModelSlot) -> None:
        name = resident.name
        if name in self._served:  # in another form
            await self._retire(self._served[name]).left()
        self._known[name] = known
        self._served[name] = self._serve(resident)
        self._served[name].start()
        self._out.pop(name, None)
        metrics.OUT_OF_SERVICE.set(len(self._out))

    async def _stop_serving(self, name: str) -> None:
        known, version = self._known.pop(name), self._served.pop(name)
        unloaded = is_unloaded(self._wanted(known.found.version))
        log.info("model is no longer served", model=name, reason="unloaded" if unloaded else "gone from the repository")
        self._retire(version)
        if unloaded:  # one that is gone may be there for others
            try:
                await self._announcer.take_back(known.found.version)
            except Unavailable as error:
                log.warning("the catalog could not be told", model=name, reason=error.message)

    def _take_out_wrong(self) -> None:
        wrong, self._wrong = self._wrong, []
        for name, version in list(self._served.items()):
            if version.resident not in wrong:
                continue
            log.error("a model is taken out of service, since it answers wrongly", model=name)
            self._failed[name] = self._known.pop(name)
            self._retire(self._served.pop(name))
            self._out[name] = delays_s(FIRST_RELOAD_S, LAST_RELOAD_S)
            self._try_again_later(name)
        metrics.OUT_OF_SERVICE.set(len(self._out))

    def _forget_out(self, sight: StableSnapshot) -> None:
        """Versions that are gone, or that nobody is to serve, are not missed."""
        found = sight.now.found
        unloaded = {name for name in self._out if name in found and is_unloaded(self._wanted(found[name].version))}
        self._out = {name: delays for name, delays in self._out.items() if name in sight.there - unloaded}

    def _try_again_later(self, name: str) -> None:
        if name in self._out:
            asyncio.get_running_loop().call_later(next(self._out[name]), self._try_again, name)

    def _try_again(self, name: str) -> None:
        self._failed.pop(name, None)
        self._asked.add(name)
        self._heard.set()

    def _retire(self, version: Service) -> Service:
        version.leave()
        self._leaving.add(version)
        self._side.start(self._see_off(version), f"leave {version.resident.name}")
        return version

    async def _see_off(self, version: Service) -> None:
        await version.forgotten()
        self._leaving.discard(version)
        await self._weights.drop(version.resident)

    def _wanted(self, version: ModelVersion) -> WantedState | None:
        return self._states.of(version.model, version.version)
