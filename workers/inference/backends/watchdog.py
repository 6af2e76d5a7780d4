"""A limit to how long a run may take, where nothing can stop a run but the end of the process."""

import faulthandler
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from runtime.logs import get_logger
from schemas.tensors import Array
from workers.inference.backends.protocol import Backend

log = get_logger(__name__)

RUN_LIMIT_STATUS: Final = 1
LOOK_EVERY_S: Final = 0.1
# A model that hangs in native code may keep the interpreter's lock, so that no thread of ours ever runs again. Then a
# timer that needs no interpreter ends the process, so many seconds after the limit: others may hold the lock for a
# while, and are not to be taken for the run.
GRACE_S: Final = 10.0
# A model that is loaded meanwhile may hold the lock for as long as loading takes.
GRACE_WHILE_LOADING_S: Final = 600.0
# The ids of the jobs that are being run; none while a model is warmed up, which may take longer than any run.
RUNNING_JOBS: ContextVar[Sequence[str]] = ContextVar("RUNNING_JOBS", default=())


@contextmanager
def without_jobs() -> Iterator[None]:
    """What happens within is no job's run, even if a job waits for it."""
    before = RUNNING_JOBS.set(())
    try:
        yield
    finally:
        RUNNING_JOBS.reset(before)


@dataclass(slots=True)
class _Run:
    """`spent_s` is how long the run has been seen at work, up to `seen_at`."""

    model: str
    limit_s: float
    jobs: Sequence[str]
    seen_at: float
    spent_s: float = 0.0


class RunWatch:
    """Ends the process when a run takes longer than it may, and says which jobs were in it, and where.

    One for the process, as faulthandler's timer is: models run one at a time. Nothing is timed while none runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._loads = 0
        self._watching = False

    @contextmanager
    def limit(self, model: str, limit_s: float, jobs: Sequence[str]) -> Iterator[None]:
        """What happens within is a run, and may take `limit_s`."""
        self._begin(_Run(model, limit_s, jobs, time.monotonic()))
        try:
            yield
        finally:
            self._begin(None)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """A model is loaded, perhaps beside a run, which is not to pay for that."""
        self._count_loads(1)
        try:
            yield
        finally:
            self._count_loads(-1)

    def _begin(self, run: _Run | None) -> None:
        with self._lock:
            self._run = run
            self._set_timer()
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="run limits", daemon=True).start()

    def _count_loads(self, change: int) -> None:
        with self._lock:
            self._loads += change
            self._set_timer()

    def _set_timer(self) -> None:
        if self._run is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            grace_s = GRACE_WHILE_LOADING_S if self._loads else GRACE_S
            faulthandler.dump_traceback_later(self._run.limit_s - self._run.spent_s + grace_s, exit=True)

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_EVERY_S):
            with self._lock:
                if self._run is not None:
                    self._look(self._run, time.monotonic())

    @staticmethod
    def _look(run: _Run, now: float) -> None:
        """Where nobody could look for long, somebody held the interpreter's lock: that is not held against the run."""
        run.spent_s += min(now - run.seen_at, 2 * LOOK_EVERY_S)
        run.seen_at = now
        if run.spent_s > run.limit_s:
            log.critical(
                "ending, since a run takes longer than its model may and cannot be stopped",
                model=run.model,
                limit_s=run.limit_s,
                jobs=list(run.jobs),
            )
            faulthandler.dump_traceback(all_threads=True)
            os._exit(RUN_LIMIT_STATUS)


WATCH: Final = RunWatch()


class WatchedBackend:
    """Holds the runs of `inner` to `limit_s`.

    The starts of jobs whose process ends have been counted: they come again alone, and the one at fault is found.
    """

    def __init__(self, inner: Backend, name: str, limit_s: float, watch: RunWatch = WATCH) -> None:
        self._inner = inner
        self._name = name
        self._limit_s = limit_s
        self._watch = watch

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        jobs = RUNNING_JOBS.get()
        if not jobs:
            return self._inner.run(inputs, parameters)
        with self._watch.limit(self._name, self._limit_s, jobs):
            return self._inner.run(inputs, parameters)

    def close(self) -> None:
        self._inner.close()
