"""Memory that two processes share, by which tensors change hands with one copy and no serialization.

It has no name in any file system: the kernel frees it with the last process that holds it, however that one ends, and
the size of a container's /dev/shm (64 MiB by default) does not bound it.
"""

import fcntl
import mmap
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from schemas.tensors import Array

ALIGNMENT: Final = 64  # bytes; a cache line, and the widest vector that a runtime may load


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a tensor lies within a segment. `dtype` is numpy's; one of objects (texts) is packed as `size` bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def nameless_memory(purpose: str) -> int:
    """The file descriptor of empty shared memory."""
    if sys.platform == "linux":
        memory = os.memfd_create(purpose, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Reading what the other end has cut off is a bus error, and that would end us.
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return memory
    else:  # noqa: RET505 - so that mypy sees a branch for another system, not dead code
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


class Segment:
    """One of the two processes writes and the other reads, in turns. It grows as tensors need it, and stays so."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._mapped: mmap.mmap | None = None

    def put(self, tensors: Mapping[str, Array]) -> list[Place]:
        """Write the tensors over what stood there before."""
        parts = [_packed(tensor) for tensor in tensors.values()]
        places, end = [], 0
        for (name, tensor), part in zip(tensors.items(), parts, strict=True):
            places.append(Place(name, tensor.dtype.str, tensor.shape, end, part.nbytes))
            end += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
        mapped = self._at_least(end, grow=True)
        for place, part in zip(places, parts, strict=True):
            np.ndarray(part.shape, part.dtype, mapped, place.offset)[...] = part
        return places

    def get(self, places: Iterable[Place]) -> dict[str, Array]:
        """The tensors as views, which hold until the next `put`; those of objects are copies.

        Raises `ValueError` or `TypeError` for places that cannot be.
        """
        return {place.name: self._at(place) for place in places}

    def close(self) -> None:
        """Give the memory back; views that are still held keep theirs."""
        self._mapped = None
        os.close(self.memory)

    def _at(self, place: Place) -> Array:
        mapped = self._at_least(place.offset + place.size, grow=False)
        dtype = np.dtype(place.dtype)
        if dtype.hasobject:
            packed = np.ndarray(place.size, np.uint8, mapped, place.offset)
            return _unpacked(packed.tobytes()).reshape(place.shape)
        return np.ndarray(place.shape, dtype, mapped, place.offset)

    def _at_least(self, size: int, *, grow: bool) -> mmap.mmap:
        if self._mapped is None or len(self._mapped) < size:
            if grow:
                held = 0 if self._mapped is None else len(self._mapped)
                pages = -(-max(size, 2 * held, 1) // mmap.PAGESIZE)
                os.ftruncate(self.memory, pages * mmap.PAGESIZE)
            self._mapped = mmap.mmap(self.memory, 0)  # anew: a mapping with views on it cannot be moved
        return self._mapped


def _packed(tensor: Array) -> Array:
    if tensor.dtype != object:
        return tensor
    return np.frombuffer(msgspec.msgpack.encode(tensor.ravel().tolist()), np.uint8)


def _unpacked(packed: bytes) -> Array:
    elements: list[Any] = msgspec.msgpack.decode(packed, type=list[Any])
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array
