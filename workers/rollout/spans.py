"""Writes what the windows hold to Postgres, ten minutes at a time: versions are compared by it, days later."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from runtime.logs import get_logger
from schemas.errors import PenstockError
from schemas.topics import Lane
from schemas.version_counts import SPAN_S, VersionCounts, sums_of
from stores.version_counts import VersionCountStore
from workers.rollout.windows import Windows

log = get_logger(__name__)

WRITE_EVERY_S: Final = 5.0
AT_ONCE: Final = 50
SPAN: Final = timedelta(seconds=SPAN_S)


class SpanWriter:
    """A span is written again as long as it grows, and anew after a restart: the store keeps the larger sum."""

    def __init__(self, store: VersionCountStore, windows: Windows, read_until: Callable[[], datetime | None]) -> None:
        self._store = store
        self._windows = windows
        self._read_until = read_until
        self._written: dict[tuple[Lane, int], int] = {}  # of how many records; 0 once it does not grow any more
        self._is_away = False

    async def run(self) -> None:
        """Run until canceled."""
        while True:
            await self.write()
            await asyncio.sleep(WRITE_EVERY_S)

    async def write(self) -> None:
        """All that has grown since it was written. Raises nothing: what fails is tried again the next time."""
        if self._read_until() is None:  # another process counts, and writes
            self._written.clear()
            return
        buckets = self._windows.buckets()
        self._written = {place: records for place, records in self._written.items() if place in buckets}
        grown = iter(buckets.items() - self._written.items())
        try:
            while some := dict(islice(grown, AT_ONCE)):
                await self._store.write(await self._counts(some))
                self._written.update(some)
            self._is_away = False
        except PenstockError as error:
            if not self._is_away:
                log.warning("counts for comparisons cannot be written for now", reason=error.message)
            self._is_away = True

    async def _counts(self, places: Iterable[tuple[Lane, int]]) -> list[VersionCounts]:
        found: list[VersionCounts] = []
        for lane, start in places:
            began_at = datetime.fromtimestamp(start, UTC)
            counts = self._windows.between(lane.model, [lane.version], lane.cls, began_at, began_at + SPAN)
            found.append(VersionCounts(lane, began_at, sums_of(counts[lane.version])))
            await asyncio.sleep(0)  # each is added up from the records of all its workers: others may want the loop
        return [each for each in found if each.sums.size]
