"""Reading what others send: at once where that is quick, else in a thread, so that the loop goes on meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from runtime.budget import RETRY_AFTER_S, MemoryBudget
from schemas.errors import Unavailable
from schemas.images import Hold

T = TypeVar("T")

# Reading more than this may take tens of milliseconds.
INLINE_BYTES: Final = 32 * 1024
# Images that take more than this are unpacked in a thread, of which there are few: each may take 200 MB, and a core.
INLINE_IMAGE_BYTES: Final = 1024 * 1024
IMAGE_THREADS: Final = 2
PIXELS: Final = "pixels"


class _TooMuchHere(Unavailable):
    """Images that are too large to be unpacked where they were met."""


class InputReader:
    """Runs what reads inputs. What their images take is held in the budget while it does."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._image_threads = ThreadPoolExecutor(IMAGE_THREADS, thread_name_prefix="images")

    async def run(self, payload_bytes: int, read: Callable[[Hold], T]) -> T:
        """What `read` makes of `payload_bytes` bytes. It may be called twice, and is given what it has to tell of memory.

        Raises what it raises; `Unavailable` where the budget has no room for its images.
        """
        try:
            if payload_bytes <= INLINE_BYTES:
                return read(_little)
            return await asyncio.to_thread(read, _little)
        except _TooMuchHere:
            return await asyncio.get_running_loop().run_in_executor(self._image_threads, self._held, read)

    def _held(self, read: Callable[[Hold], T]) -> T:
        with self._budget.hold(PIXELS) as holding:
            return read(holding.grow)


def _little(payload_bytes: int) -> None:
    if payload_bytes > INLINE_IMAGE_BYTES:
        raise _TooMuchHere("images go to a thread of their own", retry_after_s=RETRY_AFTER_S)
