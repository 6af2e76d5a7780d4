"""Reading inputs: at once where that is quick, else in a process beside this one, so that the event loop goes on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from runtime.apart import Apart
from runtime.budget import READ_FACTOR, Holding, MemoryBudget
from schemas.errors import PayloadTooLarge, Unavailable
from schemas.images import Hold

T = TypeVar("T")

# Reading more than this may take tens of milliseconds: another process does it.
INLINE_BYTES: Final = 32 * 1024
# Images that take more than this together once they are unpacked are read there, too, however small their files are.
INLINE_IMAGE_BYTES: Final = 1024 * 1024


class InputReader:
    """Large inputs are read one after the other, by a process beside this one: what they need for a moment is a
    multiple of their size. Images have another one, so that neither waits for the other."""

    def __init__(self, budget: MemoryBudget, *, patience_s: float | None = None) -> None:
        """`patience_s`: how long an input may wait for its turn and be read; None for as long as it takes."""
        self._budget = budget
        self._patience_s = patience_s
        self._inputs = _Turns("inputs")
        self._images = _Turns("images")

    async def run(self, payload_bytes: int, read: Callable[[Hold], T], *, is_image: bool = False) -> T:
        """What `read` makes of an input of so many bytes. It is told whom to ask for memory, may be called again, and
        can be pickled.

        Raises what `read` raises; `Unavailable` where the process has no room for it now, or did not get to it in
        time, `PayloadTooLarge` where it never has any for its images.
        """
        if payload_bytes > INLINE_BYTES:
            if is_image:
                return await self._in_turn(self._images, 0, read)
            return await self._in_turn(self._inputs, READ_FACTOR * payload_bytes, read)
        images = _SmallImages()
        try:
            return read(images.hold)
        except Unavailable:
            if not images.too_large:
                raise
        return await self._in_turn(self._images, 0, read)

    async def _in_turn(self, turns: "_Turns", taken_bytes: int, read: Callable[[Hold], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience_s):
                return await loop.run_in_executor(turns.thread, self._read, turns.apart, taken_bytes, read)
        except TimeoutError as error:
            raise Unavailable("Too many large inputs wait to be read: try again.", retry_after_s=5) from error

    def _read(self, apart: Apart, taken_bytes: int, read: Callable[[Hold], T]) -> T:
        with self._budget.hold("checks") as values, self._budget.hold("pixels") as pixels:
            values.grow(min(taken_bytes, self._budget.limit_bytes))
            return apart.call(read, lambda more_bytes: self._hold_pixels(values, pixels, more_bytes))

    def _hold_pixels(self, values: Holding, pixels: Holding, more_bytes: int) -> None:
        """An input of images holds few other values: what was set apart for these is for its pixels first."""
        if pixels.held_bytes + more_bytes > self._budget.limit_bytes:  # there will never be room for it
            raise PayloadTooLarge("to read the input takes more memory than this process may use", param="input")
        values.resize(max(0, values.held_bytes - more_bytes))
        pixels.grow(more_bytes)


class _Turns:
    """A process, and the thread that talks to it."""

    def __init__(self, name: str) -> None:
        self.apart = Apart()
        self.thread = ThreadPoolExecutor(1, name)


class _SmallImages:
    """Has room for small images only, and for few of them, so that others are read elsewhere."""

    def __init__(self) -> None:
        self._bytes = 0
        self.too_large = False

    def hold(self, payload_bytes: int) -> None:
        self._bytes += payload_bytes
        self.too_large = self._bytes > INLINE_IMAGE_BYTES
        if self.too_large:
            raise Unavailable("the images are read elsewhere")
