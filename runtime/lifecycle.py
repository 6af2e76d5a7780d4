"""The life of a process: signals in, one stop event out, and a watch over its side tasks."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from runtime.logs import get_logger

log = get_logger(__name__)

Role = Callable[[asyncio.Event], Awaitable[None]]


def run_role(role: Role) -> None:
    """Run `role` until it returns. SIGTERM and SIGINT set its stop event; a second one ends the process at once."""
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows

        new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        new_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_until_stopped(role))


def spare_the_collector(*thresholds: int) -> None:
    """Leave what stands by now out of garbage collections, and make these rare: see `gc.set_threshold`.

    Our objects die by reference count; going through all modules again and again costs some percent of a busy
    process, in pauses that the slowest requests feel.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)
    gc.enable()  # where imports went without


async def _until_stopped(role: Role) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            log.warning("second signal: ending at once", signal=signal.Signals(number).name)
            raise SystemExit(128 + number)
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    spare_the_collector(50_000, 20, 50)
    await role(stop)


class BackgroundTasks:
    """Tasks that run beside the main one. The first that fails sets `stop`, and is raised on leaving."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> "BackgroundTasks":
        return self

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        log.error("a side task failed", task=task.get_name(), exc_info=task.exception())
        self._failure = self._failure or task.exception()
        self._stop.set()

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failure is not None:
            raise self._failure
