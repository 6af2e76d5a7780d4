"""The thread in which models run, so that the event loop's heartbeats never wait for them; another such loads them."""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, TypeVar

from runtime.logs import get_logger
from runtime.process import StoppedEarly
from schemas.errors import ConfigurationError
from workers.inference.execution.failures import DEVICE_FAILED_STATUS, DeviceFailed

log = get_logger(__name__)

LEFT_RUNNING_STATUS: Final = 1
# So long a busy event loop may keep the interpreter from the thread that runs models; Python's own 5 ms are longer than
# most runs take. A network run by torch gives the interpreter away and asks for it again with each of its operations.
# Much less would cost models that compute in Python more than it gives others.
SWITCH_INTERVAL_S: Final = 0.0001

T = TypeVar("T")
# What to do, and whom to tell: the result, or the error.
_Work = tuple[Callable[[], Any], asyncio.Future[Any]]


class InferenceThread:
    """Runs what is submitted, one after the other, always in the same thread: some runtimes keep settings by thread.

    A model that runs cannot be interrupted. The thread is a daemon, so that nothing waits for it on the way out, and
    a process that would leave it running ends without the interpreter's last steps, which could crash under it.

    What nobody waits for any more when its turn comes is not done.

    Once something has raised `DeviceFailed`, whatever comes after is told the same and not done.
    """

    def __init__(self, name: str = "inference") -> None:
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._submitted = 0  # written by the loop's thread alone
        self._done = 0  # written by our own
        self._status_if_left = LEFT_RUNNING_STATUS
        self._device_failed: DeviceFailed | None = None

    @property
    def busy(self) -> bool:
        return self._done != self._submitted

    async def __aenter__(self) -> "InferenceThread":
        self._thread.start()
        atexit.register(self._end_process_if_busy)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        failed_status = _status_of(error)
        if failed_status is not None:  # what is left is not why the process ends
            self._status_if_left = failed_status
        if not self.busy:
            self._thread.join()
            atexit.unregister(self._end_process_if_busy)

    def submit(self, work: Callable[[], T], *, status_if_left: int | None = LEFT_RUNNING_STATUS) -> "asyncio.Future[T]":
        """Have `work` done; the future tells its result, or what it raised.

        A process that ends without waiting for it, and by no error, exits with `status_if_left`; None: as without this
        work.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._submitted += 1
        if status_if_left is not None:
            self._status_if_left = status_if_left
        self._waiting.put((partial(copy_context().run, work), future))  # the log's context among other things
        return future

    def _work(self) -> None:
        while (each := self._waiting.get()) is not None:
            work, future = each
            result, error = (None, None) if future.cancelled() else self._do(work)
            self._done += 1
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del each, work, future, result, error  # not held until the next work comes

    def _do(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        if self._device_failed is not None:
            return None, self._device_failed
        try:
            return work(), None
        except DeviceFailed as failed:
            self._device_failed = failed
            return None, failed
        except BaseException as raised:
            return None, raised

    def _end_process_if_busy(self) -> None:
        if self.busy:
            log.warning("leaving a model that still loads or runs")
            os._exit(self._status_if_left)


def _status_of(error: BaseException | None) -> int | None:
    """With which status the role's process ends by this error; None where it ends as it was told to."""
    match error:
        case None | StoppedEarly() | asyncio.CancelledError():
            return None
        case DeviceFailed():
            return DEVICE_FAILED_STATUS
        case ConfigurationError():
            return 2
    return 1


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():  # whoever waited was canceled
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        future.set_exception(error)
    else:  # asyncio would end the loop over these, or refuse them
        unusual = RuntimeError(f"a model raised {type(error).__name__}")
        unusual.__cause__ = error
        future.set_exception(unusual)
