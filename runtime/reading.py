"""Reading inputs: at once where that is quick, else beside the event loop, so that it goes on meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from runtime.apart import Apart
from runtime.budget import Holding, MemoryBudget
from schemas.errors import PayloadTooLarge, Unavailable
from schemas.images import Hold

T = TypeVar("T")
U = TypeVar("U")

# Reading more than this may take tens of milliseconds: another process does it.
INLINE_BYTES: Final = 32 * 1024
# While an input is read, its values are Python objects: as many times its size as short values in JSON come to.
READ_FACTOR: Final = 80
# Images that take more than this together once they are unpacked go to a thread, too, however small their files are.
INLINE_IMAGE_BYTES: Final = 1024 * 1024
# Each image may take some 120 MB and a core.
IMAGE_THREADS: Final = 2


class InputReader:
    """Large inputs are read one after the other, by a process beside this one: what they need for a moment is a
    multiple of their size. Images have threads, since Pillow lets others run."""

    def __init__(self, budget: MemoryBudget, *, patience_s: float | None = None) -> None:
        """`patience_s`: how long an input may wait for its turn and be read; None for as long as it takes."""
        self._budget = budget
        self._patience_s = patience_s
        self._apart = Apart()
        self._large = ThreadPoolExecutor(1, "large-inputs")
        self._images = ThreadPoolExecutor(IMAGE_THREADS, "images")

    async def run(self, payload_bytes: int, read: Callable[[Hold], T], *, is_image: bool = False) -> T:
        """What `read` makes of an input of so many bytes. It is told whom to ask for memory, may be called again, and
        can be pickled.

        Raises what `read` raises; `Unavailable` where the process has no room for it now, or did not get to it in
        time, `PayloadTooLarge` where it never has any for its images.
        """
        images = _SmallImages()
        try:
            if payload_bytes <= INLINE_BYTES:
                return read(images.hold)
            if not is_image:
                outcome: T | _ImagesTooLarge = await self._in(self._large, self._read_large, payload_bytes, read)
                if not isinstance(outcome, _ImagesTooLarge):
                    return outcome
        except Unavailable:
            if not images.too_large:
                raise
        return await self._in(self._images, self._read_images, read)

    async def _in(self, threads: ThreadPoolExecutor, read: Callable[..., U], *given: object) -> U:
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.get_running_loop().run_in_executor(threads, read, *given)
        except TimeoutError as error:
            raise Unavailable("Too many large inputs wait to be read: try again.", retry_after_s=5) from error

    def _read_large(self, payload_bytes: int, read: Callable[[Hold], T]) -> "T | _ImagesTooLarge":
        with self._budget.hold("checks") as held:
            held.grow(min(READ_FACTOR * payload_bytes, self._budget.limit_bytes))
            return self._apart.call(partial(_read_apart, read))

    def _read_images(self, read: Callable[[Hold], T]) -> T:
        with self._budget.hold("pixels") as held:
            return read(lambda payload_bytes: self._grow(held, payload_bytes))

    def _grow(self, held: Holding, payload_bytes: int) -> None:
        if held.held_bytes + payload_bytes > self._budget.limit_bytes:  # there will never be room for it
            raise PayloadTooLarge("to read the input takes more memory than this process may use", param="input")
        held.grow(payload_bytes)


class _ImagesTooLarge:
    """The input holds images that are for the threads."""


def _read_apart(read: Callable[[Hold], T]) -> T | _ImagesTooLarge:
    images = _SmallImages()
    try:
        return read(images.hold)
    except Unavailable:
        if images.too_large:
            return _ImagesTooLarge()
        raise


class _SmallImages:
    """Has room for small images only, and for few of them, so that others are unpacked elsewhere."""

    def __init__(self) -> None:
        self._bytes = 0
        self.too_large = False

    def hold(self, payload_bytes: int) -> None:
        self._bytes += payload_bytes
        self.too_large = self._bytes > INLINE_IMAGE_BYTES
        if self.too_large:
            raise Unavailable("the images are unpacked elsewhere")
