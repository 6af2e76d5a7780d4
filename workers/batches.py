"""Fetching batches of records, and working on several of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from runtime.lifecycle import BackgroundTasks
from workers.consuming.protocols import Consumer, Record

FETCH_TIMEOUT_S: Final = 0.5

# Does everything with a batch, to marking its records done. Tries until it succeeds: what it raises ends the process.
Work = Callable[[Sequence[Record]], Awaitable[None]]


class Batches:
    """At most `at_once` batches of at most `largest` records are open; beyond that nothing is fetched.

    While one batch waits for its store or its acknowledgements, the next is read. A lone record is worked on at once;
    when all places are taken, the batches grow.
    """

    def __init__(self, consumer: Consumer, work: Work, *, largest: int, at_once: int) -> None:
        self._consumer = consumer
        self._work = work
        self._largest = largest
        self._places = asyncio.Semaphore(at_once)

    async def run(self, stop: asyncio.Event, side: BackgroundTasks) -> None:
        """Fetch until `stop`. Batches still open then go on as side tasks, for the consumer's leave to wait for."""
        fetching = side.start(self._fetch(side), "fetch")
        await stop.wait()
        fetching.cancel()

    async def _fetch(self, side: BackgroundTasks) -> None:
        while True:
            await self._places.acquire()
            records = await self._consumer.fetch(self._largest, FETCH_TIMEOUT_S)
            if records:
                side.start(self._open(records), "batch")
            else:
                self._places.release()

    async def _open(self, records: Sequence[Record]) -> None:
        try:
            await self._work(records)
        finally:
            self._places.release()
