"""`isolation: process`: a model that runs in a child of ours, and is started again whenever that one ends."""

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import ConfigurationError, ModelCrashed, PenstockError, TimeLimitExceeded
from schemas.tensors import Array
from workers.inference.backends.isolated.child import Child
from workers.inference.backends.isolated.messages import Failed, raised
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)

LOAD_LIMIT_S: Final = 600.0
MOST_LOADS: Final = 6
CANNOT_LOAD_AGAIN_STATUS: Final = 1


class IsolatedBackend:
    """`Backend` in another process. Its death costs the micro-batch that it ran, which the runner then halves.

    A child that ends is replaced at once, and the next run waits until the new one has loaded the model.
    """

    def __init__(self, version: ModelVersion, device: str) -> None:
        self._version = version
        self._device = device
        self._child = Child(version.name)
        self._loading = False
        self._pause = threading.Event()

    @property
    def pid(self) -> int:
        return self._child.pid

    def load(self) -> None:
        """Raises `ConfigurationError` where it cannot be loaded, or the child dies of it."""
        self._start()
        try:
            self._await_loaded()
        except ConfigurationError:
            raise
        except PenstockError as error:
            raise ConfigurationError(f"{self._version.name}: loading it: {error.message}") from error

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        if self._loading:
            self._load_again()
        limit_s = self._version.run_limit_s
        order = self._child.order(inputs, parameters)
        try:
            self._child.tell(order)
            answer = self._child.answer(limit_s)
            if isinstance(answer, Failed):
                raise raised(answer)
            return self._child.outputs(answer.outputs)
        except TimeoutError as error:
            self._child.abort()
            self._start()
            raise TimeLimitExceeded(f"the run took longer than {limit_s:g} s, which is the model's limit") from error
        except (EOFError, OSError, ValueError, TypeError) as error:
            how = self._child.kill()
            self._start()
            raise ModelCrashed(f"the model ended the process that it ran in ({how})") from error

    def close(self) -> None:
        self._child.leave()

    def _start(self) -> None:
        self._child = Child(self._version.name)
        self._child.start(replace(self._version, isolation="none", run_limit_s=None), self._device)
        self._loading = True

    def _await_loaded(self) -> None:
        try:
            answer = self._child.answer(LOAD_LIMIT_S)
        except TimeoutError as error:
            self._child.abort()
            raise TimeLimitExceeded(f"loading takes longer than {LOAD_LIMIT_S:g} s") from error
        except (EOFError, OSError, ValueError) as error:
            raise ModelCrashed(f"the process ended ({self._child.kill()})") from error
        if isinstance(answer, Failed):
            self._child.kill()
            raise raised(answer)
        self._loading = False
        log.info("model isolated", model=self._version.name, process=self._child.pid)

    def _load_again(self) -> None:
        """Wait for the new child, with back-off where it dies as well.

        What cannot be loaded any more is no job's fault: then the worker ends, and its jobs come again, here or where
        it can be loaded.
        """
        for _, delay_s in zip(range(MOST_LOADS), delays_s(0.5, 10.0), strict=False):
            try:
                return self._await_loaded()
            except PenstockError as error:
                log.warning("a model cannot be loaded again", model=self._version.name, reason=error.message)
            self._pause.wait(delay_s)
            self._start()
        log.critical("ending, since a model cannot be loaded again", model=self._version.name)
        os._exit(CANNOT_LOAD_AGAIN_STATUS)
