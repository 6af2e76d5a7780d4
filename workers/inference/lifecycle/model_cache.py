"""Which model versions' weights are in memory, and which make room for others."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from runtime.logs import get_logger
from schemas.errors import ConfigurationError, TransientFailure
from schemas.tensors import Array
from workers.inference import metrics
from workers.inference.backends import Backend
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import Found

log = get_logger(__name__)

Load = Callable[[ModelVersion], Backend]


class ModelSlot:
    """One version to be run, whether or not its weights are in memory. A `runner.Model`."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.backend: Backend | None = None

    @property
    def name(self) -> str:
        return self.found.version.name

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        if self.backend is None:  # what `ModelCache.use` met stands in the log
            raise TransientFailure(f"{self.name} cannot be loaded at the moment")
        return self.backend.run(inputs, parameters)


class ModelCache:
    """Keeps the files of the versions in memory within `limit_bytes`; 0 is no limit. The least recently used go.

    Of one thread, the one in which models run: so nothing is closed while it runs.
    """

    def __init__(self, load: Load, limit_bytes: int = 0) -> None:
        self._load = load
        self._limit_bytes = limit_bytes
        self._by_use: dict[ModelSlot, None] = {}  # the least recently used first

    @property
    def size_bytes(self) -> int:
        return sum(resident.found.size_bytes for resident in self._by_use)

    @property
    def names(self) -> list[str]:
        """What is in memory, the least recently used first."""
        return [resident.name for resident in self._by_use]

    def use(self, resident: ModelSlot) -> None:
        """Have the version in memory, or say in the log why it cannot be. Blocks while it is loaded."""
        if resident.backend is not None:
            del self._by_use[resident]
            self._by_use[resident] = None
            return
        try:
            self._make_room(resident)
            self.put(resident, timed_load(self._load, resident.found.version))
        except BaseException as error:  # anything, as a model that runs: a file that has changed, no memory, sys.exit
            log.exception("a model cannot be loaded", model=resident.name, reason=str(error))

    def load_if_room(self, resident: ModelSlot) -> None:
        """Load the version unless others would have to go. Raises what loading raises."""
        if resident.backend is None and self._has_room(resident):
            self.put(resident, timed_load(self._load, resident.found.version))

    def put(self, resident: ModelSlot, backend: Backend) -> None:
        """Run the version with `backend` from now on; what it had before is closed."""
        self.drop(resident)
        resident.backend = backend
        self._by_use[resident] = None
        self._tell()

    def drop(self, resident: ModelSlot) -> None:
        """Close the version; it is loaded again when it is used."""
        if resident.backend is not None:
            backend, resident.backend = resident.backend, None
            del self._by_use[resident]
            try:
                backend.close()
            except Exception:  # it is gone for us in any case
                log.exception("a model did not close cleanly", model=resident.name)
            self._tell()

    def check_size(self, found: Found) -> None:
        """Raises `ConfigurationError` for a version that alone is larger than the limit."""
        if self._limit_bytes and found.size_bytes > self._limit_bytes:
            raise ConfigurationError(
                f"{found.version.name}: its files have {found.size_bytes} bytes, and "
                f"PENSTOCK_WORKER_MEMORY_BYTES allows {self._limit_bytes}"
            )

    def _has_room(self, resident: ModelSlot) -> bool:
        return not self._limit_bytes or self.size_bytes + resident.found.size_bytes <= self._limit_bytes

    def _make_room(self, resident: ModelSlot) -> None:
        while self._by_use and not self._has_room(resident):
            oldest = next(iter(self._by_use))
            self.drop(oldest)
            metrics.EVICTIONS.labels(oldest.found.version.model, oldest.found.version.version).inc()
            log.info("model evicted", model=oldest.name, size_bytes=oldest.found.size_bytes)

    def _tell(self) -> None:
        metrics.LOADED_VERSIONS.set(len(self._by_use))
        metrics.LOADED_BYTES.set(self.size_bytes)


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
