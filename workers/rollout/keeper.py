"""Keeps what workers counted: reads the stats topic with Faust, into windows that others ask.

All goes by the time at which Kafka has written a record: of its clock there is one, and our own may be set at any
moment.
"""

import asyncio
import time
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from faust.types import TP, EventT, StreamT

from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable
from schemas.stats import INTERVAL_S, StatsRecord, decode_stats
from workers.rollout import metrics
from workers.rollout.clocks import Clocks
from workers.rollout.faust_app import faust_app, quiet_faust, stats_stream, windows_table
from workers.rollout.place import Place
from workers.rollout.windows import Taken, Windows

log = get_logger(__name__)

# Of what we write into the topic ourselves, to know that all before it was read. No model has such a name.
MARK_KEY: Final = b"/mark"
# Of the table: up to where the records are in it.
PLACE_KEY: Final = b"place"
# An interval is complete so long after its end: by then workers have told of it, unless something holds them up. What
# comes later is in the windows all the same.
TOLD_WITHIN_S: Final = 1.0
# How a record says that its time is the broker's. In a topic that was made by an earlier version, and must not be
# changed, it is the writer's.
BROKERS_TIME: Final = 1
# Timers may be early by a part of this.
TIMER_S: Final = 0.01
# Whoever reads nothing for so long, not even its own marks, although the topic is its own to read, is stuck.
STUCK_AFTER_S: Final = 120.0
LOOK_INTERVAL_S: Final = 1.0
GO_BACK_WITHIN_S: Final = 10.0
STOP_WITHIN_S: Final = 8.0


class Keeper:
    """Of several processes one keeps the windows, and another takes over when it goes."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._app = faust_app(settings)
        self._stats = stats_stream(self._app, settings)
        self._table = windows_table(self._app, settings)
        self._table.on_recover(self._recovered)
        self._app.agent(self._stats, name="stats")(self._read_all)
        # They take the keyword that its type names, among any others.
        self._app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]
        self._app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]
        self._name = uuid4().hex
        self._joined = False
        self._owner = False
        self._at_once = asyncio.Event()  # mark, or go back
        self._place = Place(0)
        self._missed = False
        self._told: set[str] = set()
        self._read_until_s: float | None = None
        self._ahead_s: float | None = None  # of our steady clock: Kafka's
        self._alive_at = time.monotonic()
        self.windows = Windows(self._table)
        self.clocks = Clocks()
        metrics.STATS_AGE.set_function(self._age_s)
        metrics.WINDOWS.set_function(lambda: len(self.windows))

    @property
    def read_until(self) -> datetime | None:
        """Intervals that have ended by then are complete; None where the windows are not ours, or not read yet. A time
        that lies a few intervals back says that Kafka is away, or that more comes than is read."""
        return datetime.fromtimestamp(self._read_until_s, UTC) if self._owner and self._read_until_s else None

    def now(self) -> datetime:
        """By Kafka's clock: as the last mark was written, and our steady clock went on since."""
        return datetime.fromtimestamp(self._now_s(), UTC)

    def _now_s(self) -> float:
        return time.time() if self._ahead_s is None else time.monotonic() + self._ahead_s

    @property
    def trouble(self) -> str | None:
        """Why the windows cannot be kept here, or None."""
        if not self._joined:
            return "joining the group"
        return "what workers counted is being read" if self._owner and self._read_until_s is None else None

    async def run(self) -> None:
        """Run until canceled. Raises `QueueUnavailable` where Faust has failed, or stands still."""
        quiet_faust()
        marking = asyncio.create_task(self._mark(), name="marks")
        starting = asyncio.create_task(self._app.start(), name="faust")
        try:
            while True:
                await asyncio.sleep(LOOK_INTERVAL_S)
                self._look(starting)
        finally:
            await self._stop(marking, starting)

    def _look(self, starting: "asyncio.Task[None]") -> None:
        if starting.done() and not starting.cancelled() and (failure := starting.exception()) is not None:
            raise QueueUnavailable("the stats topic cannot be read") from failure
        if self._app.crashed or self._app.should_stop:
            raise QueueUnavailable("reading the stats topic has failed") from self._app.crash_reason
        if time.monotonic() - self._alive_at > STUCK_AFTER_S:
            raise QueueUnavailable(f"nothing was read of the stats topic for {STUCK_AFTER_S:.0f} s")

    async def _stop(self, *tasks: "asyncio.Task[None]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._app.stop()
        except Exception as error:
            log.warning("leaving the stats topic as it is", error=repr(error))

    async def _mark(self) -> None:
        """Write into the topic what we then wait to read: once each interval, as soon as it may be complete."""
        while True:
            if not self._owner and self._joined:
                self._alive_at = time.monotonic()  # another reads
            if self._owner and self._missed:
                await self._go_back()
            if self._owner:
                mark = f"{self._name} {time.time()} {time.monotonic()}".encode()
                self._stats.send_soon(key=MARK_KEY, value=mark, partition=0).add_done_callback(_let_be)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S - (self._now_s() - TOLD_WITHIN_S) % INTERVAL_S + TIMER_S):
                    await self._at_once.wait()
            self._at_once.clear()

    async def _go_back(self) -> None:
        """Read again from where something was missed."""
        topic = TP(self._settings.topics.stats, 0)
        try:
            async with asyncio.timeout(GO_BACK_WITHIN_S):
                earliest = await self._app.consumer.earliest_offsets(topic)
                await self._app.consumer.seek(topic, self._place.go_back(earliest[topic]))
        except Exception as error:
            log.warning("the stats topic cannot be read again yet", error=repr(error))
        self._missed = False

    async def _assigned(self, _app: Any, *about: AbstractSet[Any], **_: Any) -> None:
        self._joined = True
        if not any(topic == self._settings.topics.stats for topic, _ in about[0]):
            log.info("another process keeps the windows")

    async def _revoked(self, _app: Any, *_: Any, **__: Any) -> None:
        self._joined = False
        self._owner = False
        self._read_until_s = None

    async def _recovered(self) -> None:
        """The table is as whoever had it before has left it; unless it is another's."""
        assignment = self._app.consumer.assignment()
        self._owner = any(topic == self._settings.topics.stats for topic, _ in assignment)
        self.windows.clear()
        if self._owner:
            self.windows.rebuild()
            self._place = Place(int(self._table.get(PLACE_KEY, b"-1")))
            self._alive_at = time.monotonic()
            self._at_once.set()
            log.info("keeping the windows", entries=len(self.windows))

    async def _read_all(self, stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            try:
                self._read(event)
            except Exception as error:
                self._refused("unreadable", error=repr(error))

    def _read(self, event: EventT[bytes]) -> None:
        """The table may be written to in here alone. Raises whatever a value may cause that none of us has written."""
        self._alive_at = time.monotonic()
        if not self._place.takes(event.message.offset):
            self._missed = True
            self._at_once.set()
            return
        if event.key == MARK_KEY:
            self._read_mark(event)
        elif event.value is not None:
            self._take(decode_stats(event.value), event.message.timestamp)
        # By when it was written: what came while nobody read must be read whole before it is summed up.
        self.windows.tidy(min(self._now_s(), event.message.timestamp))

    def _take(self, record: StatsRecord, written_s: float) -> None:
        right = self.clocks.is_right(record, written_s)
        taken = self.windows.take(record, self._now_s(), self._read_until_s) if right else Taken.CLOCK
        if taken is Taken.NO_ROOM:
            self._refused(taken, model=record.model, version=record.version, worker=record.worker)
        else:
            metrics.STATS_RECORDS.labels(outcome=taken).inc()

    def _refused(self, outcome: str, **of: str) -> None:
        """Told once: whoever may write to the topic may write much, and the metric says how much."""
        metrics.STATS_RECORDS.labels(outcome=outcome).inc()
        if outcome not in self._told:
            self._told.add(outcome)
            log.warning("a record of what a worker counted is passed over", outcome=outcome, **of)

    def _read_mark(self, event: EventT[bytes]) -> None:
        name, _, times = event.value.decode().partition(" ")
        if name != self._name:
            return
        at_s, sent_s = map(float, times.split(" "))
        if event.message.timestamp_type == BROKERS_TIME:
            at_s = event.message.timestamp
        # None is of later: but where our clock was set back, or somebody else has written it.
        elif not TOLD_WITHIN_S < at_s <= time.time():
            return
        if not sent_s <= time.monotonic():
            return
        self._ahead_s = at_s - sent_s
        self._read_until_s = at_s - TOLD_WITHIN_S
        self._table[PLACE_KEY] = b"%d" % self._place.next

    def _age_s(self) -> float:
        return -1.0 if self._read_until_s is None else self._now_s() - self._read_until_s


def _let_be(sent: "asyncio.Future[Any]") -> None:
    """That a mark could not be written is told by there being none to read."""
    if not sent.cancelled():
        sent.exception()
