"""What this worker serves, brought in line with its repository and with what operators want, again and again."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from producers.model_states import ModelStates
from runtime.backoff import delays_s
from runtime.lifecycle import BackgroundTasks
from runtime.logs import get_logger
from schemas.errors import ConfigurationError, PenstockError, Unavailable
from schemas.model_states import WantedState
from schemas.worker_reports import NotServed, VersionReport
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

# Told which versions of the repository are not served, by their names.
Report = Callable[[Mapping[str, VersionReport]], None]

ANSWERS_WRONGLY: Final = "it answers its reference rows wrongly; it is loaded afresh now and then"
MAX_WORDS: Final = 500  # characters of one error in the log's reason


class Failure(NamedTuple):
    """Why a version is not served as it was found: for the log and operators, and what clients may be told. `again`: it
    is due to be loaded once more, though nothing about it has changed."""

    known: ServedSpec
    reason: str
    told: str
    again: bool = False


class Announcer(Protocol):
    """Tells the catalog."""

    async def announce(self, versions: Sequence[ModelVersion]) -> None:
        """Have lanes for the versions, then entries. Returns when all of it is there."""

    async def take_back(self, version: ModelVersion) -> None:
        """Raises `Unavailable`."""


class Service(Protocol):
    """A version whose lanes are served, as `served_version.ServedVersion`."""

    @property
    def slot(self) -> ModelSlot: ...

    @property
    def absent(self) -> list[str]: ...

    def start(self) -> None: ...

    def leave(self) -> None: ...

    async def left(self) -> None: ...

    async def forgotten(self) -> None: ...


class ModelReconciler:
    """`serve` makes a version's lanes; `interval_s` is between two looks at the repository, 0 for none. `report` hears
    after each look what is not served; `for_clients` says of an error what they may be told.

    Each version is loaded, announced and served by a task of its own, so that none waits for another and a version is
    left at once while others load. Of one version one thing is done at a time.
    """

    def __init__(
        self,
        watch: RepositoryWatch,
        loader: ModelLoader,
        announcer: Announcer,
        serve: Callable[[ModelSlot], Service],
        side: BackgroundTasks,
        *,
        interval_s: float,
        report: Report = lambda _: None,
        for_clients: Callable[[Exception], str] = str,
    ) -> None:
        self._watch = watch
        self._loader = loader
        self._announcer = announcer
        self._serve = serve
        self._side = side
        self._interval_s = interval_s
        self._report = report
        self._for_clients = for_clients
        self._states = ModelStates()
        self._served: dict[str, Service] = {}
        self._known: dict[str, ServedSpec] = {}
        self._failed: dict[str, Failure] = {}
        self._at_work: dict[str, asyncio.Task[None]] = {}
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

    def take_out(self, slot: ModelSlot) -> None:
        """Serve the version no more, since it answers wrongly, until a fresh load answers rightly."""
        self._wrong.append(slot)
        self._heard.set()

    @property
    def out_of_service(self) -> list[str]:
        """Versions that answered wrongly and are not served."""
        return sorted(self._out)

    @property
    def absent(self) -> list[str]:
        """The lanes that should be served and are not yet."""
        return [lane for version in self._served.values() for lane in version.absent]

    @property
    def served(self) -> list[str]:
        return sorted(self._served)

    @property
    def failed(self) -> dict[str, str]:
        """Why it is that versions, or whole models, are not served which are there and which nobody has unloaded."""
        reasons = {name: failure.reason for name, failure in self._failed.items()}
        return {
            name: why
            for name, why in {**reasons, **self._watch.problems}.items()
            if name not in self._served and not is_unloaded(self._wish_for(name))
        }

    @property
    def trouble(self) -> str:
        """Why the repository cannot be read; empty while it can be."""
        return self._watch.trouble

    async def start(self) -> None:
        """Look at the repository and begin to load what is there; `follow` may run from now on."""
        snapshot = await asyncio.to_thread(self._watch.look)
        if snapshot is not None:
            await self._turn(snapshot)

    async def loaded(self) -> None:
        """Wait until what is being loaded has been, or has failed to. Raises what ends the process anyway."""
        await asyncio.gather(*self._at_work.values())

    async def follow(self) -> None:
        """Run until canceled."""
        while True:
            look = self._watch.look if await self._interval_is_over() else self._watch.glance
            self._take_out_wrong()
            snapshot = await asyncio.to_thread(look)
            if snapshot is not None:
                await self._turn(snapshot)

    async def leave(self) -> None:
        """Leave the groups of all lanes, at the same time; returns when they are left."""
        for task in self._at_work.values():
            task.cancel()
        for version in self._served.values():
            version.leave()
        await asyncio.gather(*(version.left() for version in {*self._served.values(), *self._leaving}))

    async def _interval_is_over(self) -> bool:
        """Whether it is; else something is wanted before, or has been done."""
        try:
            async with asyncio.timeout(self._interval_s or None):
                await self._heard.wait()
        except TimeoutError:
            return True
        self._heard.clear()
        return False

    async def _turn(self, snapshot: StableSnapshot) -> None:
        asked, self._asked = self._asked, set()
        # An operator who asks for a version says that its files are complete: no second look is waited for.
        snapshot = snapshot._replace(ready=snapshot.ready | (asked & snapshot.now.found.keys()))
        self._forget(snapshot)
        failed = {name: failure.known for name, failure in self._failed.items() if not failure.again}
        to_do = changes(self._taken_up(), failed, snapshot, self._wanted, self._at_work)
        for name in to_do.leave:
            await self._stop_serving(name)
        for known in [*to_do.load, *to_do.rebuild]:
            self._begin(known, self._bring(known))
        for known in to_do.swap:
            self._begin(known, self._swap(known, self._served[known.found.version.name].slot))
        for known in to_do.announce:
            self._begin(known, self._announce(known))
        self._report(self._not_served(snapshot))

    def _taken_up(self) -> dict[str, ServedSpec]:
        """What is served. Where memory is bounded, a swap that fails leaves its own files to be loaded: when those of
        before are put back, they are others than what is taken up."""
        taken_up = dict(self._known)
        for name in taken_up.keys() - self._failed.keys():
            held, known = self._served[name].slot.found, taken_up[name]
            if held.files != known.found.files:
                taken_up[name] = known._replace(found=held)
        return taken_up

    def _not_served(self, snapshot: StableSnapshot) -> dict[str, VersionReport]:
        """What is in the repository and not served as it stands there."""
        found = snapshot.now.found
        loading = {name: VersionReport(NotServed.LOADING) for name in self._at_work if name not in self._served}
        failed = {name: VersionReport(NotServed.REFUSED, failure.told) for name, failure in self._failed.items()}
        unloaded = {
            name: VersionReport(NotServed.UNLOADED)
            for name, each in found.items()
            if is_unloaded(self._wanted(each.version))
        }
        unread = {
            name: VersionReport(NotServed.REFUSED, self._for_clients(ConfigurationError(problem)))
            for name, problem in snapshot.now.problems.items()
        }
        return {**failed, **unread, **loading, **unloaded}

    def _begin(self, known: ServedSpec, work: Coroutine[Any, Any, None]) -> None:
        name = known.found.version.name
        task = self._side.start(work, f"bring {name} up to date")
        self._at_work[name] = task
        task.add_done_callback(lambda _: self._done(name))

    def _done(self, name: str) -> None:
        """What has changed in the meantime is seen to now."""
        del self._at_work[name]
        self._heard.set()

    async def _bring(self, known: ServedSpec) -> None:
        """Load, announce and serve the version, in place of what was served under its name."""
        slot = ModelSlot(known.found)
        if not await self._try(known, self._loader.bring(slot)):
            return
        if is_unloaded(self._wanted(known.found.version)):  # since it began to load
            await self._loader.drop(slot)
            return
        await self._announcer.announce([known.found.version])
        name = slot.name
        before = self._served.pop(name, None)
        self._known.pop(name, None)
        if before is not None:
            await self._retire(before).left()
        self._known[name] = known
        self._served[name] = self._serve(slot)
        self._served[name].start()
        log.info("model is served", model=name)
        self._out.pop(name, None)
        metrics.OUT_OF_SERVICE.set(len(self._out))

    async def _swap(self, known: ServedSpec, slot: ModelSlot) -> None:
        """Run the version that is served with what was found now; it stays as it was where that cannot be loaded."""
        name = known.found.version.name
        log.warning("files of a served version have changed: they are loaded in its place", model=name)
        if not await self._try(known, self._loader.swap(slot, known.found)):
            return
        if name in self._served:
            await self._announce(known)
        else:  # it was left in the meantime
            await self._loader.drop(slot)

    async def _announce(self, known: ServedSpec) -> None:
        await self._announcer.announce([known.found.version])
        name = known.found.version.name
        if name in self._served:
            self._known[name] = known

    async def _try(self, known: ServedSpec, loading: Awaitable[None]) -> bool:
        """Whether the version could be loaded."""
        name = known.found.version.name
        try:
            await loading
        except DeviceFailed:
            raise
        except Exception as error:  # a model's own code among other things
            failure = self._failed[name] = Failure(known, reason_of(error), self._for_clients(error))
            log.error("model left out", model=name, reason=failure.reason)
            self._try_again_later(name)
            return False
        self._failed.pop(name, None)
        return True

    async def _stop_serving(self, name: str) -> None:
        known, version = self._known.pop(name), self._served.pop(name)
        unloaded = is_unloaded(self._wanted(known.found.version))
        # Who unloads a version knows; that a folder is gone may be news to all.
        tell = log.info if unloaded else log.warning
        tell("model is no longer served", model=name, reason="unloaded" if unloaded else "gone from the repository")
        self._retire(version)
        if unloaded:  # one that is gone may be there for others
            try:
                await self._announcer.take_back(known.found.version)
            except Unavailable as error:
                log.warning("the catalog could not be told", model=name, reason=error.message)

    def _take_out_wrong(self) -> None:
        wrong, self._wrong = self._wrong, []
        for name, version in list(self._served.items()):
            if version.slot not in wrong:
                continue
            log.error("a model is taken out of service, since it answers wrongly", model=name)
            self._failed[name] = Failure(self._known.pop(name), ANSWERS_WRONGLY, ANSWERS_WRONGLY)
            self._retire(self._served.pop(name))
            self._out[name] = delays_s(FIRST_RELOAD_S, LAST_RELOAD_S)
            self._try_again_later(name)
        metrics.OUT_OF_SERVICE.set(len(self._out))

    def _forget(self, snapshot: StableSnapshot) -> None:
        """What is gone, or nobody is to serve, or is served as it stands, has not failed; nor is it missed."""
        failures = self._failed.items()
        self._failed = {name: failure for name, failure in failures if not self._is_over(name, failure, snapshot)}
        waited_for = self._failed.keys() | self._at_work.keys()
        self._out = {name: delays for name, delays in self._out.items() if name in waited_for}

    def _is_over(self, name: str, failure: Failure, snapshot: StableSnapshot) -> bool:
        as_it_stands = name in self._known and self._known[name].found == snapshot.now.found.get(name)
        return as_it_stands or snapshot.is_gone(failure.known.found.version) or is_unloaded(self._wish_for(name))

    def _try_again_later(self, name: str) -> None:
        if name in self._out:
            asyncio.get_running_loop().call_later(next(self._out[name]), self._try_again, name)

    def _try_again(self, name: str) -> None:
        if name in self._failed:
            self._failed[name] = self._failed[name]._replace(again=True)
        self._asked.add(name)
        self._heard.set()

    def _retire(self, version: Service) -> Service:
        version.leave()
        self._leaving.add(version)
        self._side.start(self._see_off(version), f"leave {version.slot.name}")
        return version

    async def _see_off(self, version: Service) -> None:
        await version.forgotten()
        self._leaving.discard(version)
        await self._loader.drop(version.slot)

    def _wish_for(self, name: str) -> WantedState | None:
        model, _, version = name.partition("/")
        return self._states.of(model, version)

    def _wanted(self, version: ModelVersion) -> WantedState | None:
        return self._states.of(version.model, version.version)


def reason_of(error: BaseException) -> str:
    """The error and what caused it, in one line for the log: a foreign error's own words say what is to be mended."""
    told: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:  # an error may be its own cause
        seen.add(id(cause))
        words = " ".join(str(cause).split())[:MAX_WORDS]
        if not any(words in before for before in told) or not words:
            told.append(words if isinstance(cause, PenstockError) else f"{type(cause).__name__}: {words}")
        cause = cause.__cause__
    return ", because of ".join(told)
