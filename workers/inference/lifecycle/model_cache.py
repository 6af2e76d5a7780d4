"""Which model versions' weights are in memory, and which make room for others."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import (
    ConfigurationError,
    ModelCrashed,
    ModelUnavailable,
    OutOfMemory,
    PenstockError,
    TimeLimitExceeded,
)
from schemas.tensors import Array
from workers.inference import metrics
from workers.inference.backends import Backend
from workers.inference.backends.runtime_errors import names_device
from workers.inference.backends.watchdog import without_jobs
from workers.inference.execution.failures import DeviceFailed, causes
from workers.inference.lifecycle.known_answers import KnownAnswers
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import Found, is_as_found

log = get_logger(__name__)

Load = Callable[[ModelVersion], Backend]
Clock = Callable[[], float]


class ModelSlot:
    """One version to be run, whether or not its weights are in memory. A `runner.Model`.

    `doubtful` after an error of the device: what it answers is to be checked before anything else is run. `why_not`
    says why it cannot be run at the moment.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.backend: Backend | None = None
        self.doubtful = False
        self.checked_at = 0.0
        self.why_not: str | None = None
        self.next_load_at = 0.0
        self.load_delays_s: Iterator[float] = delays_s(5.0, 300.0)

    @property
    def name(self) -> str:
        return self.found.version.name

    def renew(self, found: Found) -> None:
        """Load what was `found` from now on, whatever became of what there was before."""
        self.found = found
        self.why_not = None
        self.next_load_at = 0.0
        self.load_delays_s = delays_s(5.0, 300.0)

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        if self.backend is None or self.why_not is not None:  # what `ModelCache.use` met stands in the log
            raise ModelUnavailable(
                f"{self.name} cannot be run on this worker at the moment: {self.why_not or 'it is not loaded'}"
            )
        try:
            return self.backend.run(inputs, parameters)
        except PenstockError as error:
            self.doubtful = self.doubtful or _concerns_device(error)
            raise


def _concerns_device(error: PenstockError) -> bool:
    return isinstance(error, OutOfMemory | ModelCrashed | TimeLimitExceeded) or any(map(names_device, causes(error)))


class ModelCache:
    """Keeps the files of the versions in memory within `limit_bytes`; 0 is no limit. The least recently used go.

    Used by one thread alone, that in which models run, so that nothing is closed while it runs. Versions are held
    against their `known` answers after a load, after an error of the device, and before a run if the last check is
    `check_interval_s` ago (0: not for that reason). `on_wrong` hears of those that fail.
    """

    def __init__(
        self,
        load: Load,
        limit_bytes: int = 0,
        *,
        known: KnownAnswers | None = None,
        check_interval_s: float = 0.0,
        on_wrong: Callable[[ModelSlot], None] = lambda _: None,
        clock: Clock = time.monotonic,
        is_there: Callable[[Found], bool] = is_as_found,
    ) -> None:
        self._load = load
        self._limit_bytes = limit_bytes
        self._known = known or KnownAnswers()
        self._check_interval_s = check_interval_s
        self._on_wrong = on_wrong
        self._clock = clock
        self._is_there = is_there
        self._by_use: dict[ModelSlot, None] = {}  # the least recently used first

    @property
    def size_bytes(self) -> int:
        return sum(slot.found.size_bytes for slot in self._by_use)

    @property
    def names(self) -> list[str]:
        """What is in memory, the least recently used first."""
        return [slot.name for slot in self._by_use]

    def use(self, slot: ModelSlot) -> None:
        """Have the version in memory and in order, or say in the log why it cannot be. Blocks while it is loaded.

        Raises `DeviceFailed`.
        """
        if slot.backend is None:
            self._try_loading(slot)
        else:
            del self._by_use[slot]
            self._by_use[slot] = None
        if slot.backend is not None and slot.why_not is None and self._is_check_due(slot):
            try:
                self.check(slot, slot.found, slot.backend)
            except (ConfigurationError, ModelUnavailable):
                slot.why_not = "it answers wrongly"
                self._on_wrong(slot)

    def load_if_room(self, slot: ModelSlot) -> None:
        """Load the version unless others would have to go. Raises what loading raises."""
        if slot.backend is None and self._has_room(slot):
            self._load_into(slot)

    def put(self, slot: ModelSlot, backend: Backend) -> None:
        """Run the version with `backend` from now on; what it had before is closed."""
        self.drop(slot)
        slot.backend = backend
        slot.why_not = None
        self._by_use[slot] = None
        self._tell()

    def drop(self, slot: ModelSlot) -> None:
        """Close the version; it is loaded again when it is used."""
        if slot.backend is not None:
            backend, slot.backend = slot.backend, None
            del self._by_use[slot]
            close(backend, slot.name)
            self._tell()

    def drop_all(self) -> None:
        for slot in list(self._by_use):
            self.drop(slot)

    def check(self, slot: ModelSlot, found: Found, backend: Backend) -> None:
        """Hold a backend that the version runs with, or is to run with, against its known answers. Raises as
        `KnownAnswers.check`."""
        slot.checked_at = self._clock()
        slot.doubtful = not self._known.check(found, backend)

    def check_size(self, found: Found) -> None:
        """Raises `ConfigurationError` for a version that alone is larger than the limit."""
        if self._limit_bytes and found.size_bytes > self._limit_bytes:
            raise ConfigurationError(
                f"{found.version.name}: its files have {found.size_bytes} bytes, and "
                f"PENSTOCK_WORKER_MEMORY_BYTES allows {self._limit_bytes}"
            )

    def loaded(self, found: Found) -> Backend:
        """The version, loaded, with its known answers learned. In any thread. Raises what loading raises."""
        with without_jobs():  # first runs may take longer than any other
            backend = timed_load(self._load, found.version)
            try:
                self._known.learn(found, backend)
            except BaseException:
                close(backend, found.version.name)
                raise
            return backend

    def _is_check_due(self, slot: ModelSlot) -> bool:
        over = self._clock() - slot.checked_at >= self._check_interval_s
        return slot.doubtful or (self._check_interval_s > 0 and over)

    def _try_loading(self, slot: ModelSlot) -> None:
        """Others make room only for a version that was not in vain loaded a moment ago, and whose files are there."""
        if self._clock() < slot.next_load_at:
            return
        try:
            self._make_room(slot)
            self._load_into(slot)
        except DeviceFailed:
            raise
        except BaseException as error:  # anything, as a model that runs: a file that has changed, no memory, sys.exit
            delay_s = next(slot.load_delays_s)
            slot.next_load_at = self._clock() + delay_s
            slot.why_not = "it cannot be loaded"
            log.exception(
                "a model cannot be loaded", model=slot.name, reason=str(error), next_attempt_s=round(delay_s, 1)
            )
        else:
            slot.renew(slot.found)

    def _load_into(self, slot: ModelSlot) -> None:
        self.put(slot, self.loaded(slot.found))
        slot.doubtful = True  # until it is checked, before it runs

    def _has_room(self, slot: ModelSlot) -> bool:
        return not self._limit_bytes or self.size_bytes + slot.found.size_bytes <= self._limit_bytes

    def _make_room(self, slot: ModelSlot) -> None:
        if not self._is_there(slot.found):
            raise ConfigurationError(f"{slot.name}: its files have changed or are gone")
        while self._by_use and not self._has_room(slot):
            oldest = next(iter(self._by_use))
            self.drop(oldest)
            metrics.EVICTIONS.labels(oldest.found.version.model, oldest.found.version.version).inc()
            log.info("model evicted", model=oldest.name, size_bytes=oldest.found.size_bytes)

    def _tell(self) -> None:
        metrics.LOADED_VERSIONS.set(len(self._by_use))
        metrics.LOADED_BYTES.set(self.size_bytes)


def close(backend: Backend, name: str) -> None:
    try:
        backend.close()
    except Exception:  # it is gone for us in any case
        log.exception("a model did not close cleanly", model=name)


def timed_load(load: Load, version: ModelVersion) -> Backend:
    """`load(version)`, counted. Raises what it raises."""
    labels = (version.model, version.version)
    started = time.perf_counter()
    try:
        backend = load(version)
    except BaseException:
        metrics.LOADS.labels(*labels, "failed").inc()
        raise
    metrics.LOADS.labels(*labels, "succeeded").inc()
    metrics.LOAD_SECONDS.labels(*labels).observe(time.perf_counter() - started)
    return backend
