"""Telling the stats topic what was counted, interval by interval."""

import asyncio
import re
from collections import deque
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import msgspec

from producers.protocols import Publisher
from runtime.clock import Clock
from runtime.logs import get_logger
from runtime.process import instance_name
from schemas.errors import Unavailable
from schemas.records import OutRecord
from schemas.stats import INTERVAL_S, StatsRecord, encode_stats, interval_start
from schemas.topics import Topics
from workers.inference.counting.tally import Tallies

log = get_logger(__name__)

# While Kafka is away so many records are kept, the oldest give way: a minute of 80 lanes, or more of fewer.
MOST_UNTOLD: Final = 1000
TELL_WITHIN_S: Final = 2.0


class StatsReporter:
    """One record a lane and interval in which something was counted.

    What could not be told is told with the next interval, as the same record: whoever reads it twice counts it once.
    Nothing waits for it, and whatever befalls it is only logged.
    """

    def __init__(self, tallies: Tallies, publisher: Publisher, topics: Topics, clock: Clock) -> None:
        self._tallies = tallies
        self._publisher = publisher
        self._topic = topics.stats
        self._clock = clock
        self._worker = life_name()
        self._began_at = interval_start(clock())
        self._untold: deque[StatsRecord] = deque(maxlen=MOST_UNTOLD)
        self._failing = False

    async def run(self) -> None:
        """Run until canceled."""
        while True:
            ends_at = interval_start(self._clock()) + timedelta(seconds=INTERVAL_S)
            await asyncio.sleep((ends_at - self._clock()).total_seconds())
            now = self._clock()
            if interval_start(now) > self._began_at:  # a timer may be early, and a clock be set back
                self._close(now)
                await self._tell()

    async def tell_now(self) -> None:
        """Tell what the interval has held so far: the process leaves, or may end before the interval does. What is
        counted in the rest of it goes by another name, as that of another life."""
        self._close(self._clock())
        self._worker = life_name()
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_WITHIN_S):
                await self._tell()

    def _close(self, now: datetime) -> None:
        for lane, counts in self._tallies.take():
            self._untold.append(
                StatsRecord(
                    model=lane.model,
                    version=lane.version,
                    lane=lane.cls,
                    worker=self._worker,
                    began_at=self._began_at,
                    ended_at=now,
                    counts=counts,
                )
            )
        self._began_at = interval_start(now)

    async def _tell(self) -> None:
        if not self._untold:
            return
        records = list(self._untold)
        try:
            told_at = self._clock()
            outcomes = await self._publisher.publish_all([self._out(record, told_at) for record in records])
        except Exception as error:
            log.warning("what was counted cannot be told", error=repr(error))
            return
        over = {id(record) for record, why in zip(records, outcomes, strict=True) if not isinstance(why, Unavailable)}
        left = [record for record in self._untold if id(record) not in over]  # meanwhile there may be more
        reason = next((why.message for why in outcomes if why is not None), None)
        if reason is not None and not self._failing:
            log.warning("what was counted cannot be told yet", records=len(left), reason=reason)
        self._failing = reason is not None
        self._untold = deque(left, MOST_UNTOLD)

    def _out(self, record: StatsRecord, told_at: datetime) -> OutRecord:
        key = f"{record.model}/{record.version}".encode()
        value = encode_stats(msgspec.structs.replace(record, told_at=told_at))
        return OutRecord(self._topic, key, value, [], partition=0)


def life_name() -> str:
    """That no other life of a worker has."""
    instance = re.sub(r"[^A-Za-z0-9._-]", "-", instance_name())[:100]
    return f"{instance}-{uuid4().hex[:8]}"
