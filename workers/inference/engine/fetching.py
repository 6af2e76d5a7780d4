"""Inputs of a lane's jobs that lie in the blob store: fetched one by one, beside all else that the lane does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from runtime.logs import get_logger
from schemas.errors import PenstockError, TransientFailure
from stores.blobs import Blobs
from stores.claims import fetch_input
from workers.consuming.offsets import Partition
from workers.consuming.protocols import Consumer
from workers.inference.decoding.record_decoder import Claimed, Decoded, Ended

log = get_logger(__name__)

# More may wait where one fetch has brought more; until there are fewer, the lane fetches no records.
MOST_WAITING: Final = 8

Taken = Callable[[Consumer, Decoded], Awaitable[None]]
Read = Callable[[Claimed, bytes], Decoded]


class Room(Protocol):
    def has_room(self, input_bytes: int) -> bool:
        """Whether an input of so many bytes may be held beside what is held."""

    def held_changed(self) -> None:
        """More or less is held for what is fetched."""

    async def wait_for_room(self) -> None:
        """Return when that may have changed."""


class Fetching:
    """`read` makes of a claimed job with its input what that is, in a thread; `taken` hears of it.

    What is fetched while its partition is lost is forgotten: it comes again, here or elsewhere.
    """

    def __init__(self, blobs: Blobs | None, room: Room, read: Read, taken: Taken) -> None:
        self._blobs = blobs
        self._room = room
        self._read = read
        self._taken = taken
        self._one = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], Partition] = {}
        self.held_bytes = 0

    @property
    def full(self) -> bool:
        return len(self._tasks) >= MOST_WAITING

    def begin(self, consumer: Consumer, claimed: Claimed) -> None:
        record = claimed.record
        task = asyncio.create_task(self._fetch(consumer, claimed), name=f"fetching {record.topic} {record.offset}")
        self._tasks[task] = Partition(record.topic, record.partition)
        task.add_done_callback(self._over)

    def forget(self, partitions: frozenset[Partition]) -> None:
        for task, partition in list(self._tasks.items()):
            if partition in partitions:
                task.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a claimed job was lost until its record comes again", exc_info=error)

    async def _fetch(self, consumer: Consumer, claimed: Claimed) -> None:
        async with self._one:
            while not self._room.has_room(claimed.claim.size):
                await self._room.wait_for_room()
            self._hold(claimed.claim.size)
            try:
                decoded = await self._decoded(claimed)
            finally:
                self._hold(-claimed.claim.size)
        await self._taken(consumer, decoded)

    def _hold(self, more_bytes: int) -> None:
        self.held_bytes += more_bytes
        self._room.held_changed()

    async def _decoded(self, claimed: Claimed) -> Decoded:
        record, job, claim = claimed
        try:
            value = await fetch_input(self._blobs, claim)
        except PenstockError as error:
            return Ended(record, job, error)
        except MemoryError:
            return Ended(record, job, TransientFailure("the worker had no memory to fetch the input"))
        return await asyncio.to_thread(self._read, claimed, value)
