"""Kafka itself says whose lanes have a worker: through two groups of one coordinator, as members come and go."""

import time

from producers.kafka_client import KafkaClient, kafka_consumer
from producers.lane_members import MOVER, LaneMembers
from producers.topics import ensure_topics, lane_topics
from runtime.settings import KafkaSettings
from schemas.topics import Lane, LaneClass
from tests.waiting import eventually
from workers.consuming.kafka_consumer import KafkaConsumer

ONE, TWO = ("one", "1"), ("two", "1")


async def test_a_version_has_a_worker_while_a_member_is_in_the_group_of_its_lane(kafka_settings: KafkaSettings) -> None:
    lanes = [Lane(*version, LaneClass.LIVE) for version in (ONE, TWO)]
    await ensure_topics(kafka_settings, lane_topics(kafka_settings, lanes, 1))
    topics = kafka_settings.topics
    members = LaneMembers(topics, time.monotonic)
    client = KafkaClient(**kafka_settings.client_options())
    await client.bootstrap()
    consumer = kafka_consumer(kafka_settings, group_id=topics.lane_group(lanes[0]))
    consumer.subscribe([topics.lane(lanes[0])])
    moving = KafkaConsumer(kafka_settings, topics.lane_group(lanes[1]), [topics.lane(lanes[1])], client_id=MOVER)

    async def are(*, one: int, two: int, present: int = 0) -> bool:
        await members.ask(client, [ONE, TWO])
        return (members.workers(*ONE), members.workers(*TWO), members.present(*TWO)) == (one, two, present)

    try:
        await consumer.start()
        await eventually(lambda: are(one=1, two=0), what="the member of one group")
        async with moving:
            await eventually(lambda: are(one=1, two=0, present=1), what="a router in the other one")
        await consumer.stop()
        await eventually(lambda: are(one=0, two=0), what="its leaving")
    finally:
        await consumer.stop()
        await client.close()
