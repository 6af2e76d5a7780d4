"""A limit to how long a run may take, where nothing can stop a run but the end of the process."""

import faulthandler
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from runtime.logs import get_logger
from schemas.tensors import Array
from workers.inference.backends.protocol import Backend

log = get_logger(__name__)

RUN_LIMIT_STATUS: Final = 1
# The ids of the jobs that are being run; none while a model is warmed up, which may take longer than any run.
RUNNING_JOBS: ContextVar[Sequence[str]] = ContextVar("RUNNING_JOBS", default=())


class WatchedBackend:
    """Ends the process when a run of `inner` takes longer than `limit_s`, and says which jobs were in it, and where.

    Their starts have been counted, so that they come again alone, and the one at fault is found.
    """

    def __init__(self, inner: Backend, name: str, limit_s: float) -> None:
        self._inner = inner
        self._name = name
        self._limit_s = limit_s
        self._running: Sequence[str] = ()
        self._over_at = math.inf
        self._look_every_s = min(1.0, limit_s / 4)
        self._watched = False
        self._closed = threading.Event()

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        self._running = RUNNING_JOBS.get()
        self._over_at = time.monotonic() + self._limit_s if self._running else math.inf
        if self._running and not self._watched:
            self._watched = True
            self._wind_up()
            threading.Thread(target=self._watch, name=f"limit of {self._name}", daemon=True).start()
        try:
            return self._inner.run(inputs, parameters)
        finally:
            self._over_at = math.inf

    def close(self) -> None:
        self._closed.set()
        self._inner.close()

    def _watch(self) -> None:
        while not self._closed.wait(self._look_every_s):
            if time.monotonic() > self._over_at:
                self._end_the_process()
            self._wind_up()
        faulthandler.cancel_dump_traceback_later()

    def _wind_up(self) -> None:
        """A model that hangs in native code may keep the interpreter's lock, and our thread from ever coming back: then
        this ends the process, from a thread that needs no interpreter."""
        faulthandler.dump_traceback_later(self._limit_s + 2 * self._look_every_s, exit=True)

    def _end_the_process(self) -> None:
        log.critical(
            "ending, since a run takes longer than its model may and cannot be stopped",
            model=self._name,
            limit_s=self._limit_s,
            jobs=list(self._running),
        )
        faulthandler.dump_traceback(all_threads=True)
        os._exit(RUN_LIMIT_STATUS)
