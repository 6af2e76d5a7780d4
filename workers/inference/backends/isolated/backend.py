"""`isolation: process`: a model that runs in a child of ours, and is started again whenever that one ends."""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import ConfigurationError, ModelCrashed, ModelUnavailable, PenstockError, TimeLimitExceeded
from schemas.tensors import Array
from workers.inference.backends.isolated.child import Child
from workers.inference.backends.isolated.messages import Done, Failed, Named, raised, raised_rows
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)

LOAD_LIMIT_S: Final = 600.0
# Where a child cannot be started, or dies while it loads, a job waits for so many further tries, and no longer.
TRIES_AT_ONCE: Final = 3


class IsolatedBackend:
    """`Backend` in another process. Its death costs the micro-batch that it ran, which is then divided.

    A child that ends is replaced at once, and the next run waits until the new one has loaded the model. There is a
    child that has loaded it, or one that loads it, or none: then the next run starts one. Loading, with its warm-ups,
    may take `load_limit_s`.
    """

    def __init__(self, version: ModelVersion, device: str, *, load_limit_s: float = LOAD_LIMIT_S) -> None:
        self._version = version
        self._device = device
        self._load_limit_s = load_limit_s
        self._child: Child | None = None
        self._loaded = False
        self._pauses_s = delays_s(5.0, 120.0)
        self._next_try_at = 0.0
        self._pause = threading.Event()

    @property
    def pid(self) -> int:
        assert self._child is not None  # noqa: S101 - the caller's condition
        return self._child.pid

    def load(self) -> None:
        """Raises `ConfigurationError` where it cannot be loaded, or the child dies of it."""
        try:
            self._bring_up()
        except ConfigurationError:
            raise
        except PenstockError as error:
            raise ConfigurationError(f"{self._version.name}: loading it: {error.message}") from error

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        """Raises `ModelUnavailable` where no child can be had that has loaded the model."""
        child = self._ready_child() or self._bring_up_again()
        try:
            return self._run_in(child, inputs, parameters)
        except ConnectionError as error:  # it was ending when it was told, and never heard of these inputs
            log.warning("a model's process ended before a run", model=self._version.name, how=child.kill())
            self._child, self._loaded = None, False
            try:
                return self._run_in(self._bring_up_again(), inputs, parameters)
            except ConnectionError:
                raise ModelUnavailable(f"{self._version.name} ends as soon as it is loaded") from error

    def close(self) -> None:
        if self._child is not None:
            self._child.leave()
        self._child = None

    def _run_in(self, child: Child, inputs: Mapping[str, Array], parameters: Mapping[str, Any]) -> dict[str, Array]:
        """Raises `ConnectionError` where the child has ended without having read the order."""
        limit_s = self._version.run_limit_s
        order = child.order(inputs, parameters)
        try:
            child.tell(order)
            answer = child.answer(limit_s)
            if isinstance(answer, Done):
                return child.outputs(answer.outputs)
            if isinstance(answer, Named):
                rest = None if answer.outputs is None else child.outputs(answer.outputs)
                told: Exception = raised_rows(answer, rest)
            else:
                told = raised(answer)
        except ConnectionError:
            raise
        except TimeoutError as error:
            child.abort()
            self._replace_child()
            raise TimeLimitExceeded(f"the run took longer than {limit_s:g} s, which is the model's limit") from error
        except (EOFError, OSError, ValueError, TypeError) as error:
            how = child.kill()
            self._replace_child()
            raise ModelCrashed(f"the model ended the process that it ran in ({how})") from error
        raise told

    def _ready_child(self) -> Child | None:
        """The child, where there is one that has loaded. One that ended since its last run is no job's fault."""
        child = self._child
        if child is None or not self._loaded:
            return None
        if child.ended:
            log.warning("a model's process has ended between two runs", model=self._version.name, how=child.kill())
            self._child, self._loaded = None, False
            return None
        return child

    def _replace_child(self) -> None:
        """Start the next child, so that it loads while whoever waits for this run is told."""
        self._child, self._loaded = None, False
        try:
            self._child = self._start()
        except ModelCrashed as error:  # the next run tries again
            log.warning("a model's process cannot be started", model=self._version.name, reason=error.message)

    def _start(self) -> Child:
        child = Child(self._version.name)
        try:
            child.start(replace(self._version, isolation="none", run_limit_s=None), self._device)
        except (OSError, RuntimeError) as error:  # no room for a process, a thread or a descriptor
            raise ModelCrashed(f"no process can be started for it ({type(error).__name__})") from error
        return child

    def _bring_up(self) -> Child:
        """A child that has loaded the model. Raises what loading raised, or `ModelCrashed`; then there is none."""
        child, self._child = self._child or self._start(), None
        try:
            answer = child.answer(self._load_limit_s)
        except TimeoutError as error:
            child.abort()
            raise TimeLimitExceeded(f"loading takes longer than {self._load_limit_s:g} s") from error
        except (EOFError, OSError, ValueError) as error:
            raise ModelCrashed(f"the process ended ({child.kill()})") from error
        if isinstance(answer, Failed):
            child.kill()
            raise raised(answer)
        self._child, self._loaded = child, True
        log.info("model isolated", model=self._version.name, process=child.pid)
        return child

    def _bring_up_again(self) -> Child:
        """Wait for the new child, for a few more where it dies as well, and then for none until a pause is over.

        What cannot be loaded any more is no job's fault, and others must not wait for it.
        """
        if time.monotonic() < self._next_try_at:
            raise ModelUnavailable(f"{self._version.name} cannot be loaded again at the moment")
        for delay_s, _ in zip(delays_s(0.5, 10.0), range(TRIES_AT_ONCE), strict=False):
            try:
                child = self._bring_up()
            except PenstockError as error:
                log.warning("a model cannot be loaded again", model=self._version.name, reason=error.message)
                self._pause.wait(delay_s)
            else:
                self._pauses_s = delays_s(5.0, 120.0)
                return child
        self._next_try_at = time.monotonic() + next(self._pauses_s)
        raise ModelUnavailable(f"{self._version.name} cannot be loaded again at the moment")
