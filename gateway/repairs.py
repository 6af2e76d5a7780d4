"""What has to be done for a submit, and goes on beside its request until it is."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final

from gateway.metrics import REPAIRS_GIVEN_UP
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable

log = get_logger(__name__)

MAX_REPAIRS: Final = 10_000


class Repairs:
    """Tasks of no request. Those that the store keeps from ending are tried again, later each time."""

    def __init__(self, delays: Callable[[], Iterator[float]] = delays_s) -> None:
        self._delays = delays
        self._running: set[asyncio.Task[None]] = set()

    async def surely(self, what: str, write: Callable[[], Awaitable[None]]) -> None:
        """Do `write` now, or keep trying beside the request: its answer does not hang on it."""
        try:
            await write()
        except StoreUnavailable:
            self.start(self.until_done(what, write))
        except asyncio.CancelledError:
            self.start(self.until_done(what, write))
            raise

    async def until_done(self, what: str, write: Callable[[], Awaitable[None]]) -> None:
        """However long the store stays away. Nobody else can have been given what is written here: see `Admissions`."""
        for delay_s in self._delays():
            try:
                return await write()
            except StoreUnavailable:
                await asyncio.sleep(delay_s)
        REPAIRS_GIVEN_UP.labels(what).inc()
        log.warning("the store stayed away for too long", write=what)
        return None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._running) >= MAX_REPAIRS:
            work.close()
            REPAIRS_GIVEN_UP.labels("crowd").inc()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # has been seen: nobody waits for it

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait until nothing is half done, `timeout_s` seconds at most."""
        until_s = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        while self._running:
            left_s = None if until_s is None else until_s - asyncio.get_running_loop().time()
            if left_s is not None and left_s <= 0:
                log.warning("stopping with submits half done", submits=len(self._running))
                return
            await asyncio.wait(self._running, timeout=left_s)
