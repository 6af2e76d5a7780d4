"""Looking at the model repository again and again, at the cost of listing its files while nothing changes."""

from collections.abc import Mapping, Sequence
from typing import Final

from runtime.logs import get_logger
from schemas.errors import ConfigurationError
from workers.inference.lifecycle.plan import StableSnapshot, stable_snapshot
from workers.inference.models.repository import ModelRepository
from workers.inference.models.snapshot import Files, Snapshot

log = get_logger(__name__)

NOTHING: Final = Snapshot({}, {}, frozenset())


class RepositoryWatch:
    """Polls: network file systems and mounted volumes, where models lie, tell nobody of changes.

    All its methods block. What is wrong in the repository is logged once; what the first look finds wrong is not logged
    here, since that has been done at the start.
    """

    def __init__(self, repository: ModelRepository, patterns: Sequence[str]) -> None:
        self._repository = repository
        self._patterns = patterns
        self._read: tuple[Files, Snapshot] | None = None
        self._last: StableSnapshot | None = None
        self._told: Mapping[str, str] = {}
        self.trouble = ""  # why the repository could not be read at the last look

    def look(self) -> StableSnapshot | None:
        """What is there, an interval after the last look; None where the repository cannot be read."""
        now = self._try_reading()
        if now is None:
            return None
        before = self._last.now if self._last is not None else None
        self._tell(before, now)
        self._last = stable_snapshot(before, now)
        return self._last

    @property
    def problems(self) -> Mapping[str, str]:
        """What the last look found wrong, by the name of the version or the model."""
        return self._last.now.problems if self._last is not None else {}

    def glance(self) -> StableSnapshot | None:
        """What is there between two looks: what has changed since the last is not ready."""
        now, last = self._try_reading(), self._last
        if now is None or last is None:
            return None
        snapshot = stable_snapshot(last.now, now)
        return snapshot._replace(ready=snapshot.ready & last.ready)

    def _try_reading(self) -> Snapshot | None:
        try:
            snapshot = self._look()
        except ConfigurationError as error:
            if self._last is None:
                self._last = stable_snapshot(None, NOTHING)  # so that what comes is loaded once it is there in full
            elif not self.trouble:
                log.error("the model repository cannot be read: what is served stays", reason=error.message)
            self.trouble = error.message
            return None
        self.trouble = ""
        return snapshot

    def _look(self) -> Snapshot:
        marks = self._repository.marks(self._patterns)
        if self._read is None or self._read[0] != marks:
            self._read = marks, self._repository.look(self._patterns)
        return self._read[1]

    def _tell(self, before: Snapshot | None, now: Snapshot) -> None:
        if before is None:
            self._told = now.problems
            return
        for name, problem in now.problems.items():
            # While a version is being copied, each look finds something else wrong with it. It is told when two looks
            # have found the same.
            if before.problems.get(name) == problem != self._told.get(name):
                log.error("model left out", model=name, reason=problem)
                self._told = {**self._told, name: problem}
        self._told = {name: problem for name, problem in self._told.items() if name in now.problems}
