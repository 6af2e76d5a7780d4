"""Asks Kafka about once a second how far each lane's group is behind, for `gateway.lane_depth`."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)

from gateway.lane_depth import LaneDepths
from gateway.metrics import LANE_DEPTH
from producers.stopping import stop_consumer
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.topics import Lane

log = get_logger(__name__)

INTERVAL_S: Final = 1.0
# A poll that takes longer is given up: an offset request for a partition that has gone would wait for ever.
POLL_TIMEOUT_S: Final = 10.0


class LanePoller:
    """Feeds `depths` for every lane that `lanes` names. `trouble` says why the last poll failed, or is None."""

    def __init__(self, settings: KafkaSettings, depths: LaneDepths, lanes: Callable[[], Iterable[Lane]]) -> None:
        self._settings = settings
        self._depths = depths
        self._lanes = lanes
        self._coordinators: dict[str, int] = {}
        self.trouble: str | None = "Kafka has not been asked yet"

    async def run(self) -> None:
        """Poll until canceled; clients are opened anew after a failure."""
        while True:
            try:
                await self._poll_for_ever()
            except (KafkaError, OSError, TimeoutError) as error:
                if self.trouble is None:
                    log.warning("lane depths cannot be read", error=repr(error))
                self.trouble = "Kafka cannot be reached"
            await asyncio.sleep(INTERVAL_S)

    async def _poll_for_ever(self) -> None:
        admin = AIOKafkaAdminClient(**self._settings.client_options())
        consumer = AIOKafkaConsumer(**self._settings.client_options(), enable_auto_commit=False)
        self._coordinators.clear()
        try:
            async with asyncio.timeout(POLL_TIMEOUT_S):
                await admin.start()
                await consumer.start()
            while True:
                async with asyncio.timeout(POLL_TIMEOUT_S):
                    await self._poll(admin, consumer)
                self.trouble = None
                await asyncio.sleep(INTERVAL_S)
        finally:
            await admin.close()
            await stop_consumer(consumer)

    async def _poll(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        known = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
        for lane in self._lanes():
            topic = self._settings.topics.lane(lane)
            partitions = [TopicPartition(topic, each["partition"]) for each in known.get(topic, ())]
            if not partitions:
                continue
            admitted = self._depths.admitted(lane)
            end = await consumer.end_offsets(partitions)
            done = await self._done(admin, consumer, self._settings.topics.lane_group(lane), partitions)
            if done is None:
                continue
            self._depths.update(
                lane,
                admitted_before=admitted,
                end=sum(end.values()),
                done=sum(done.values()),
                now_s=time.monotonic(),
            )
            LANE_DEPTH.labels(lane.model, lane.version, lane.cls).set(self._depths.depth(lane))

    async def _done(
        self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int] | None:
        """Up to where a group is done; for a partition it never committed, where the log begins.

        None while the group's coordinator cannot be asked: it may be on its way to another broker.
        """
        try:
            if group not in self._coordinators:
                self._coordinators[group] = await admin.find_coordinator(group)
            committed = await admin.list_consumer_group_offsets(group, self._coordinators[group], partitions)
        except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
            committed = {}
        # What was asked for and is not answered at all is an error that aiokafka does not raise.
        if not committed.keys() >= set(partitions):
            self._coordinators.pop(group, None)
            return None
        fresh = [partition for partition in partitions if committed[partition].offset < 0]
        done = {partition: committed[partition].offset for partition in partitions}
        return {**done, **(await consumer.beginning_offsets(fresh) if fresh else {})}
