"""Moving what waits for a version that was taken back and has no worker. A worker moves its own."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError

from producers.kafka_client import open_client
from producers.lane_members import MOVER, LaneMembers
from producers.lane_offsets import LaneOffsets, Offsets
from producers.protocols import Publisher
from producers.routes import Routes
from runtime.backoff import delays_s
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import PenstockError, QueueUnavailable
from schemas.records import is_copy
from schemas.routes import Route
from schemas.topics import Lane, LaneClass
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.offsets import Partition
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement, publish_replacements
from workers.router import metrics
from workers.router.placing import Placing

log = get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
# Who has not heard of the new route yet admits jobs by the one before, and a submit takes up to 20 s to the lane.
HEARD_WITHIN_S: Final = 30.0
# For how long a lane is looked after that has a worker, or that Kafka says nothing of; and for so long beyond a
# session, for which a worker that was killed counts as one.
LOOKED_AFTER_S: Final = 60.0
BEYOND_SESSION_S: Final = 30.0
CLOSE_WITHIN_S: Final = 5.0
FETCH_RECORDS: Final = 500
FETCH_TIMEOUT_S: Final = 0.5
IDLE_FETCHES: Final = 3  # so many in a row without any that could move, and others have the rest
EMPTIED_WITHIN_S: Final = 120.0
DRAIN_LIMIT_S: Final = 10.0
# No step of it takes so long beyond the patience with a lane that is missing, not even to join a group whose members
# drain. What takes longer is begun again; where even that comes to nothing, after twice as long, the process ends.
STUCK_AFTER_S: Final = 120.0
WATCH_EVERY_S: Final = 1.0

_FAILURES: Final = (KafkaError, OSError, TimeoutError, PenstockError)


class Mover:
    """Looks after the lanes of versions that a new route takes back, until nothing is left there that could move."""

    def __init__(
        self,
        settings: KafkaSettings,
        publisher: Publisher,
        routes: Routes,
        placing: Placing,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._placing = placing
        self._clock_s = clock_s
        self._looked_after_s = max(LOOKED_AFTER_S, settings.kafka_session_timeout_s + BEYOND_SESSION_S)
        self._stuck_after_s = STUCK_AFTER_S + placing.patience_s
        self._since_s: dict[Lane, float] = {}
        self._staying: dict[Lane, int] = {}  # how many records were put back where they lay
        self._heard = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._looked_s = self._began_s = clock_s()  # the last step that was done; and that, or the last beginning
        for route in routes.of.values():
            self._hear(route.model, route)
        routes.listen(self._hear)

    def _hear(self, model: str, route: Route | None) -> None:
        """Look after what is taken back now, and after nothing else of the model: what stayed may move by now."""
        lanes = [Lane(model, version, cls) for version in route.taken_back for cls in LaneClass] if route else []
        if not self._since_s:
            self._looked_s = self._began_s = self._clock_s()
        others = {lane: since_s for lane, since_s in self._since_s.items() if lane.model != model}
        self._since_s = others | dict.fromkeys(lanes, self._clock_s())
        self._staying = {lane: staying for lane, staying in self._staying.items() if lane in others}
        if lanes:
            self._heard.set()

    @property
    def trouble(self) -> str | None:
        """Why jobs may wait for a version that was taken back, or None."""
        still_s = self._clock_s() - self._looked_s
        if not self._since_s or still_s < self._stuck_after_s:
            return None
        return f"lanes of versions that were taken back have not been looked after for {still_s:.0f} s"

    async def watch(self) -> None:
        """Return never; raise where what stood still cannot be begun again either, so that the process ends."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if self._since_s and self._clock_s() - self._began_s > 2 * self._stuck_after_s:
                raise QueueUnavailable(self.trouble or "the mover stands still")

    def _step_done(self) -> None:
        self._looked_s = self._began_s = self._clock_s()
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._stuck_after_s)

    async def run(self) -> None:
        """Until canceled."""
        delays = delays_s()
        while True:
            await self._heard.wait()
            self._heard.clear()
            self._began_s = self._clock_s()
            try:
                async with asyncio.timeout(self._stuck_after_s) as self._limit:
                    await self._look_after()
                delays = delays_s()
            except _FAILURES as error:
                metrics.MOVER_FAILURES.inc()
                log.warning("lanes of versions that were taken back cannot be looked after", error=repr(error))
                self._heard.set()
                await asyncio.sleep(next(delays))

    async def _look_after(self) -> None:
        """Until no lane is left to look after."""
        async with open_client(self._settings, close_within_s=CLOSE_WITHIN_S) as client:
            offsets = LaneOffsets(client, self._settings.topics)
            members = LaneMembers(self._settings.topics, self._clock_s)
            while self._since_s:
                await self._look(client, offsets, members)
                self._step_done()
                await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, client: Any, offsets: LaneOffsets, members: LaneMembers) -> None:
        lanes = dict(self._since_s)
        seen = await offsets.of(lanes)
        await members.ask(client, {(lane.model, lane.version) for lane in lanes})
        looked_s = self._clock_s()
        for lane, since_s in lanes.items():
            partitions = client.cluster.partitions_for_topic(self._settings.topics.lane(lane)) or ()
            left = await self._is_left(lane, seen.get(lane), len(partitions), members)
            enough_s = self._looked_after_s if left else HEARD_WITHIN_S
            if looked_s - since_s > enough_s and self._since_s.get(lane) == since_s:
                del self._since_s[lane]
        # While one lane was emptied nobody looked at the others.
        spent_s = self._clock_s() - looked_s
        self._since_s = {lane: since_s + spent_s for lane, since_s in self._since_s.items()}

    async def _is_left(self, lane: Lane, seen: Offsets | None, partitions: int, members: LaneMembers) -> bool:
        """Whether anything may be left in the lane that could move; moves it where nobody else does."""
        if seen is None:
            return True
        waiting = seen.waiting
        if sum(waiting.values()) > self._staying.get(lane, 0):
            if members.present(lane.model, lane.version) != 0:
                return True
            if not await self._emptied(lane, {number: seen.ends[number] for number in waiting}):
                return True
        return len(seen.ends) < partitions  # of the others nothing is known

    async def _emptied(self, lane: Lane, ends: Mapping[int, int]) -> bool:
        since_s = self._since_s.pop(lane, None)
        if since_s is None:  # given a share again, a moment ago
            return False
        self._since_s[lane] = since_s  # at the end: next time the others come first
        try:
            staying = await self._empty(lane, ends)
        except _FAILURES as error:
            log.warning("what waits in a lane cannot be moved", lane=str(lane), error=repr(error))
            return False
        if staying is not None and self._since_s.get(lane) == since_s:  # by the route of now
            self._staying[lane] = staying
        return staying is not None

    async def _empty(self, lane: Lane, ends: Mapping[int, int]) -> int | None:
        """Put what lies in the lane up to these ends of its partitions where it belongs: what stays is at the lane's
        end then, so that all before it can be committed. Returns how many stayed; None where not all was come by."""
        topics = self._settings.topics
        group = topics.lane_group(lane)
        busy = asyncio.Lock()

        async def until_idle(_: frozenset[Partition]) -> None:
            async with busy:
                return

        log.info("moving what waits for a version that was taken back", lane=str(lane))
        joining = KafkaConsumer(
            self._settings, group, [topics.lane(lane)], drain=until_idle, drain_limit_s=DRAIN_LIMIT_S, client_id=MOVER
        )
        async with joining as consumer:
            left, idle, until_s, staying = dict(ends), 0, self._clock_s() + EMPTIED_WITHIN_S, 0
            while left and idle < IDLE_FETCHES and self._clock_s() < until_s:
                records = await consumer.fetch(FETCH_RECORDS, FETCH_TIMEOUT_S)
                async with busy:
                    placed = await self._place(consumer, group, records, ends)
                self._step_done()
                idle = 0 if placed or not consumer.joined else idle + 1
                staying += sum(each.out.topic == each.record.topic for each in placed)
                for record in records:
                    if record.offset + 1 >= left.get(record.partition, 0):
                        left.pop(record.partition, None)
        return None if left else staying

    async def _place(
        self, consumer: Consumer, group: str, records: Sequence[Record], ends: Mapping[int, int]
    ) -> Sequence[Replacement]:
        """Returns what was put in the stead of those of the records that lay before the ends."""
        before = [record for record in records if record.offset < ends.get(record.partition, 0)]
        consumer.done([record for record in before if is_copy(record.headers)])  # for a shadow that nobody runs
        old = [record for record in before if not is_copy(record.headers)]
        replacements = [self._placing.again(record, group) for record in old]
        if replacements:
            await publish_replacements(consumer, self._publisher, replacements)
        return replacements
