"""How far each lane's group is behind, as Kafka says it.

All lanes are asked about at once, in one request a broker for where they end; what a broker does not answer costs the
lanes and partitions that it leads, and no others.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

from runtime.logs import get_logger
from schemas.topics import Lane, Topics

log = get_logger(__name__)

_ANY_REPLICA: Final = -1
_READ_UNCOMMITTED: Final = 0
_FAILURES: Final = (KafkaError, OSError, TimeoutError)


class Offsets(NamedTuple):
    """Of each of a lane's partitions that is known: where it ends, and up to where the lane's group is done."""

    ends: Mapping[int, int]
    done: Mapping[int, int]

    @property
    def waiting(self) -> Mapping[int, int]:
        """How many records the group is not done with, of each partition that has any."""
        return {number: end - self.done[number] for number, end in self.ends.items() if end > self.done[number]}


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
