"""Jobs of held tenants on real Kafka: order, what is committed, and a member that dies in the middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from producers.holds import Holds, holds_topic
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from runtime.clock import now_utc
from runtime.settings import KafkaSettings
from schemas.hold_documents import encode_hold
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from tests.integration.kafka.reading import committed
from tests.integration.kafka.tail import Tail, tailing
from tests.unit.inference.jobs import LIVE, lane_job, out_record
from tests.unit.schemas.test_holds import hold
from tests.waiting import eventually
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.router.held import HeldJobs
from workers.router.placing import Placing

ACME = hold(hold_id="acme", tenant="acme")


@pytest.fixture
async def settings(kafka_bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka_bootstrap_servers, topic_prefix=topic_prefix, kafka_session_timeout_s=6
    )
    lanes = [Lane(LIVE.model, LIVE.version, cls) for cls in LaneClass]
    await ensure_topics(settings, [*base_topics(settings, 1), *lane_topics(settings, lanes, 1)])
    return settings


@pytest.fixture
async def tail(settings: KafkaSettings) -> AsyncIterator[Tail]:
    async with tailing(settings, [settings.topics.lane(LIVE), settings.topics.held]) as opened:
        yield opened


class Served:
    """The part of a router that looks after them, following the topic of holds."""

    def __init__(self, settings: KafkaSettings, publisher: KafkaPublisher) -> None:
        topics = settings.topics
        self.holds = Holds()
        self.jobs = HeldJobs(publisher, topics, Placing(topics, 10.0), self.holds, now_utc)
        self.consumer = KafkaConsumer(settings, topics.held_group, [topics.held], drain=self.jobs.drain)
        self.topic = holds_topic(settings, self.holds)
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(self.topic.follow())]
        await self.topic.caught_up.wait()
        await self.consumer.__aenter__()
        self.tasks.append(asyncio.create_task(self.jobs.run(self.consumer)))

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def serving(settings: KafkaSettings, publisher: KafkaPublisher) -> AsyncIterator[Served]:
    served = Served(settings, publisher)
    await served.start()
    try:
        yield served
    finally:
        await served.end()
        await served.consumer.__aexit__(None, None, None)


async def tell(settings: KafkaSettings, publisher: KafkaPublisher, *, stands: bool) -> None:
    value = encode_hold(ACME) if stands else None
    await publisher.publish(OutRecord(settings.topics.holds, ACME.id.encode(), value, [], partition=0))


async def put_aside(settings: KafkaSettings, publisher: KafkaPublisher, *job_ids: str) -> None:
    for job_id in job_ids:
        expires_at = now_utc() + timedelta(hours=1)
        job = msgspec.structs.replace(lane_job(job_id), tenant="acme", expires_at=expires_at)
        await publisher.publish(out_record(job)._replace(topic=settings.topics.held, partition=0))


async def test_they_come_back_in_order_when_the_tenant_is_released_and_not_before(
    settings: KafkaSettings, publisher: KafkaPublisher, tail: Tail
) -> None:
    ids = [f"job-{number:02}" for number in range(20)]
    held, lane = settings.topics.held, settings.topics.lane(LIVE)
    await tell(settings, publisher, stands=True)
    await put_aside(settings, publisher, *ids)
    async with serving(settings, publisher) as served:
        await eventually(lambda: len(tail.ids(held)) >= 2 * len(ids), timeout_s=20)
        assert tail.ids(lane) == []
        await tell(settings, publisher, stands=False)
        await eventually(lambda: len(tail.ids(lane)) == len(ids), timeout_s=20)
        await eventually(lambda: served.consumer.open_count == 0)
    assert tail.ids(lane) == ids
    stands = await committed(settings, settings.topics.held_group, held, [0])
    assert stands[0] == len(tail.ids(held))


async def test_what_a_member_that_dies_had_waiting_comes_again(
    settings: KafkaSettings, publisher: KafkaPublisher, tail: Tail
) -> None:
    await tell(settings, publisher, stands=True)
    await put_aside(settings, publisher, "a")
    dead = Served(settings, publisher)
    await dead.start()
    await eventually(lambda: dead.jobs._waiting and len(tail.ids(settings.topics.held)) == 2, timeout_s=20)
    # It neither drains nor commits
    assert dead.consumer._client is not None
    assert dead.consumer._committer is not None
    dead.tasks.append(dead.consumer._committer)
    await dead.end()
    await dead.consumer._client.stop()

    await tell(settings, publisher, stands=False)
    async with serving(settings, publisher):
        await eventually(lambda: "a" in tail.ids(settings.topics.lane(LIVE)), timeout_s=30)
