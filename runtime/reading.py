"""Reading inputs: at once where that is quick, else in a thread, so that the loop goes on meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from runtime.budget import Holding, MemoryBudget
from schemas.errors import PayloadTooLarge, Unavailable
from schemas.images import Hold

T = TypeVar("T")

# Reading more than this may take tens of milliseconds: a thread does it.
INLINE_BYTES: Final = 32 * 1024
# While an input is read, its values are Python objects: as many times its size as short values in JSON come to.
READ_FACTOR: Final = 80
# An image that takes more than this once it is unpacked goes to a thread, too, however small its file is.
INLINE_IMAGE_BYTES: Final = 1024 * 1024
# Each image may take some 120 MB and a core.
IMAGE_THREADS: Final = 2


class InputReader:
    """Large inputs are read one after the other: what they need for a moment is a multiple of their size, and more
    threads would share one interpreter anyway. Images have threads of their own, since Pillow lets others run."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._large = ThreadPoolExecutor(1, "large-inputs")
        self._images = ThreadPoolExecutor(IMAGE_THREADS, "images")

    async def run(self, payload_bytes: int, read: Callable[[Hold], T], *, is_image: bool = False) -> T:
        """What `read` makes of an input of so many bytes. It is told whom to ask for memory, and may be called again.

        Raises what `read` raises; `Unavailable` where the process has no room for it now, `PayloadTooLarge` where it
        never has any for its images.
        """
        images = _SmallImages()
        try:
            if payload_bytes <= INLINE_BYTES:
                return read(images.hold)
            if not is_image:
                return await self._in(self._large, self._read_large, payload_bytes, read, images.hold)
        except Unavailable:
            if not images.too_large:
                raise
        return await self._in(self._images, self._read_images, read)

    @staticmethod
    async def _in(threads: ThreadPoolExecutor, read: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, read, *given)

    def _read_large(self, payload_bytes: int, read: Callable[[Hold], T], hold: Hold) -> T:
        with self._budget.hold("checks") as held:
            held.grow(min(READ_FACTOR * payload_bytes, self._budget.limit_bytes))
            return read(hold)

    def _read_images(self, read: Callable[[Hold], T]) -> T:
        with self._budget.hold("pixels") as held:
            return read(lambda payload_bytes: self._grow(held, payload_bytes))

    def _grow(self, held: Holding, payload_bytes: int) -> None:
        if held.held_bytes + payload_bytes > self._budget.limit_bytes:  # there will never be room for it
            raise PayloadTooLarge("to read the input takes more memory than this process may use", param="input")
        held.grow(payload_bytes)


class _SmallImages:
    """Has room for small images only, so that large ones are unpacked elsewhere."""

    def __init__(self) -> None:
        self.too_large = False

    def hold(self, payload_bytes: int) -> None:
        self.too_large = payload_bytes > INLINE_IMAGE_BYTES
        if self.too_large:
            raise Unavailable("the images are unpacked elsewhere")
