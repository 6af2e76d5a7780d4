"""Asks Kafka about once a second how far each lane's group is behind, for `gateway.lane_depth`.

All lanes are asked about at once, in one request a broker for where they end; what a broker does not answer costs the
lanes and partitions that it leads, and no others.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

from gateway.lane_depth import LaneDepths, Offsets
from gateway.lane_members import INTERVAL_S as MEMBERS_EVERY_S
from gateway.lane_members import LaneMembers
from gateway.metrics import LANE_DEPTH
from producers.kafka_client import KafkaClient
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError
from schemas.topics import Lane, Topics

log = get_logger(__name__)

INTERVAL_S: Final = 1.0
REQUEST_TIMEOUT_S: Final = 5.0
# Six requests one after the other: metadata, coordinator, offsets, beginnings; coordinator, members.
POLL_TIMEOUT_S: Final = 6 * REQUEST_TIMEOUT_S
CLOSE_TIMEOUT_S: Final = 5.0
# A lane that is not answered for so long is told about. It goes on taking as many records as a lane may hold.
UNKNOWN_AFTER_S: Final = 30.0
_ANY_REPLICA: Final = -1
_READ_UNCOMMITTED: Final = 0
_FAILURES: Final = (KafkaError, OSError, TimeoutError)


class LaneOffsets:
    """Where lanes end, and up to where their groups are done. `client` is aiokafka's, and knows of all topics."""

    def __init__(self, client: Any, topics: Topics) -> None:
        self._client = client
        self._topics = topics
        self._coordinators: dict[str, int] = {}

    async def of(self, lanes: Iterable[Lane]) -> Mapping[Lane, Offsets]:
        """The offsets of those lanes and partitions that were answered. Raises `KafkaError` where no broker answers."""
        if not await self._client.force_metadata_update():
            raise KafkaConnectionError("no broker answers")
        partitions = {lane: self._partitions(self._topics.lane(lane)) for lane in lanes}
        every = [partition for each in partitions.values() for partition in each]
        ends, *committed = await asyncio.gather(
            self._offsets(every, OffsetResetStrategy.LATEST),
            *(self._committed(self._topics.lane_group(lane), each) for lane, each in partitions.items() if each),
        )
        done = {partition: offset for each in committed for partition, offset in each.items()}
        # A group that has not committed in a partition begins where its log does.
        fresh = [partition for partition, offset in done.items() if offset < 0]
        done |= await self._offsets(fresh, OffsetResetStrategy.EARLIEST)
        return {
            lane: Offsets(
                {each.partition: ends[each] for each in known}, {each.partition: done[each] for each in known}
            )
            for lane, all_of_it in partitions.items()
            if (known := [each for each in all_of_it if each in ends and done.get(each, -1) >= 0])
        }

    def _partitions(self, topic: str) -> Sequence[TopicPartition]:
        return [TopicPartition(topic, number) for number in self._client.cluster.partitions_for_topic(topic) or ()]

    async def _offsets(self, partitions: Sequence[TopicPartition], at: int) -> dict[TopicPartition, int]:
        """One request for each broker that leads some of the partitions; a partition without leader is left out."""
        by_leader: defaultdict[int, defaultdict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for partition in partitions:
            leader = self._client.cluster.leader_for_partition(partition)
            if leader is not None and leader >= 0:
                by_leader[leader][partition.topic].append((partition.partition, at))
        answers = await asyncio.gather(*(self._ask_leader(leader, asked) for leader, asked in by_leader.items()))
        return {partition: offset for answer in answers for partition, offset in answer.items()}

    async def _ask_leader(self, leader: int, asked: Mapping[str, list[tuple[int, int]]]) -> dict[TopicPartition, int]:
        try:
            response = await self._client.send(
                leader, OffsetRequest(_ANY_REPLICA, _READ_UNCOMMITTED, list(asked.items()))
            )
        except _FAILURES as error:
            log.debug("a broker does not say where lanes end", broker=leader, error=repr(error))
            return {}
        return {
            TopicPartition(topic, number): values[1]
            for topic, answers in response.topics
            for number, error_code, *values in answers
            if error_code == 0
        }

    async def _committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Up to where the group is done, -1 where it never committed; nothing where its coordinator does not say."""
        topic, numbers = partitions[0].topic, [partition.partition for partition in partitions]
        try:
            if group not in self._coordinators:
                self._coordinators[group] = await self._client.coordinator_lookup(CoordinationType.GROUP, group)
            response = await self._client.send(self._coordinators[group], OffsetFetchRequest(group, [(topic, numbers)]))
        except _FAILURES as error:
            log.debug("a group's offsets cannot be read", group=group, error=repr(error))
            self._coordinators.pop(group, None)
            return {}
        if response.error_code:  # its coordinator may be on its way to another broker
            self._coordinators.pop(group, None)
            return {}
        return {
            TopicPartition(name, number): offset
            for name, answers in response.topics
            for number, offset, _, error_code in answers
            if error_code == 0
        }


class LanePoller:
    """Feeds `depths` for every lane that `lanes` names, and asks now and then who the `members` of these are.

    `trouble` says why no lane's depth is known, or is None; `unknown` says which have not been known for long.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        depths: LaneDepths,
        lanes: Callable[[], Iterable[Lane]],
        members: LaneMembers | None = None,
    ) -> None:
        self._settings = settings
        self._depths = depths
        self._lanes = lanes
        self._members = members
        self._members_asked_at_s = -MEMBERS_EVERY_S
        self._known_at_s: dict[Lane, float] = {}
        self._told: frozenset[Lane] = frozenset()
        self.trouble: str | None = "Kafka has not been asked yet"

    @property
    def unknown(self) -> str | None:
        if not self._told:
            return None
        return f"how full these lanes are is not known: {', '.join(sorted(map(str, self._told)))}"

    async def run(self) -> None:
        """Poll until canceled; the client is opened anew after a failure."""
        while True:
            try:
                await self._poll_for_ever()
            except (*_FAILURES, ConfigurationError) as error:  # the last where a broker refuses us
                if self.trouble is None:
                    log.warning("lane depths cannot be read", error=repr(error))
                self.trouble = "Kafka cannot be reached"
            await asyncio.sleep(INTERVAL_S)

    async def _poll_for_ever(self) -> None:
        client = KafkaClient(**self._settings.client_options(), request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000))
        try:
            async with asyncio.timeout(POLL_TIMEOUT_S):
                await client.bootstrap()
            offsets = LaneOffsets(client, self._settings.topics)
            while True:
                async with asyncio.timeout(POLL_TIMEOUT_S):
                    await self._poll(offsets)
                    await self._ask_members(client)
                await asyncio.sleep(INTERVAL_S)
        finally:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await client.close()

    async def _poll(self, offsets: LaneOffsets) -> None:
        lanes = {lane: self._depths.admitted(lane) for lane in self._lanes()}
        answered = await offsets.of(lanes)
        now_s = time.monotonic()
        for lane, seen in answered.items():
            self._depths.update(lane, seen, admitted_before=lanes[lane], now_s=now_s)
            self._known_at_s[lane] = now_s
            LANE_DEPTH.labels(lane.model, lane.version, lane.cls).set(self._depths.depth(lane))
        self._tell_unknown(lanes, now_s)

    async def _ask_members(self, client: KafkaClient) -> None:
        now_s = time.monotonic()
        if self._members is not None and now_s - self._members_asked_at_s >= MEMBERS_EVERY_S:
            self._members_asked_at_s = now_s
            await self._members.ask(client, {(lane.model, lane.version) for lane in self._lanes()})

    def _tell_unknown(self, lanes: Iterable[Lane], now_s: float) -> None:
        unknown = frozenset(
            lane for lane in lanes if now_s - self._known_at_s.setdefault(lane, now_s) > UNKNOWN_AFTER_S
        )
        for lane in unknown - self._told:
            log.warning("how full a lane is has not been known for long", lane=str(lane))
        self._told = unknown
        self.trouble = "Kafka does not say how full any lane is" if unknown and unknown == frozenset(lanes) else None
