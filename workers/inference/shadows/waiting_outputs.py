"""Outputs that wait, to be written or to be compared: what they take of the memory is what they are counted with."""

import asyncio
import sys
from collections import deque
from collections.abc import Mapping
from typing import Generic, TypeVar

from schemas.tensors import Array

T = TypeVar("T")


class Waiting(Generic[T]):
    """First in, first out; at most so many, of so many bytes together."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._some = asyncio.Event()

    def has_room(self, size_bytes: int) -> bool:
        return len(self._items) < self._most and self._bytes + size_bytes <= self._most_bytes

    def add(self, item: T, size_bytes: int) -> None:
        """Whether or not there is room."""
        self._items.append((item, size_bytes))
        self._bytes += size_bytes
        self._some.set()

    async def next(self) -> T:
        while not self._items:
            self._some.clear()
            await self._some.wait()
        item, size_bytes = self._items.popleft()
        self._bytes -= size_bytes
        return item

    async def all(self) -> list[T]:
        """One or more."""
        taken = [await self.next()]
        while self._items:
            taken.append(await self.next())
        return taken


def own_rows(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The same, without the micro-batch that they were cut from: a view of a few rows keeps all of them."""
    return {name: array if array.base is None else array.copy() for name, array in outputs.items()}


def outputs_bytes(outputs: Mapping[str, Array]) -> int:
    """What they take, with the texts in them."""
    return sum(map(_array_bytes, outputs.values()))


def _array_bytes(array: Array) -> int:
    if array.dtype == object:
        return array.nbytes + sum(map(sys.getsizeof, array.flat))
    return array.nbytes
