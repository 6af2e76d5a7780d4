"""Tiers on real Kafka: order, waiting, and what a rebalance or a crash in the middle of it changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from producers.kafka_publisher import KafkaPublisher
from producers.topics import ensure_topics, lane_topics, retry_topics
from runtime.clock import now_utc
from runtime.settings import KafkaSettings
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from tests.integration.kafka.reading import committed
from tests.integration.kafka.tail import Tail, tailing
from tests.unit.inference.jobs import LIVE, lane_job, out_record
from tests.waiting import eventually
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.router.placing import Placing
from workers.router.retries import Tier

SHORT_S, LONG_S = 1.0, 600.0


@pytest.fixture
async def settings(kafka_bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        kafka_session_timeout_s=6,
        retry_delays_s=f"{SHORT_S},{LONG_S}",
    )
    lanes = [Lane(LIVE.model, LIVE.version, cls) for cls in LaneClass]
    await ensure_topics(settings, [*retry_topics(settings), *lane_topics(settings, lanes, 1)])
    return settings


@pytest.fixture
async def tail(settings: KafkaSettings) -> AsyncIterator[Tail]:
    topics = settings.topics
    async with tailing(settings, [topics.lane(LIVE), topics.dead_letter(topics.retry(1))]) as opened:
        yield opened


class Served:
    """A tier and its member of the group."""

    def __init__(self, settings: KafkaSettings, publisher: KafkaPublisher, number: int, delay_s: float) -> None:
        topics = settings.topics
        self.tier = Tier(number, delay_s, publisher, topics, Placing(topics, 10.0), now_utc)
        self.consumer = KafkaConsumer(
            settings, topics.retry_group(number), [topics.retry(number)], drain=self.tier.drain
        )

    @property
    def waiting(self) -> int:
        return len(self.tier._waiting)


@asynccontextmanager
async def serving(
    settings: KafkaSettings, publisher: KafkaPublisher, number: int = 1, delay_s: float | None = None
) -> AsyncIterator[Served]:
    served = Served(settings, publisher, number, settings.retry_tiers_s[number - 1] if delay_s is None else delay_s)
    async with served.consumer:
        running = asyncio.create_task(served.tier.run(served.consumer))
        try:
            yield served
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def put_aside(settings: KafkaSettings, publisher: KafkaPublisher, *job_ids: str, tier: int = 1) -> None:
    for job_id in job_ids:
        out = out_record(lane_job(job_id, attempt=tier))
        await publisher.publish(out._replace(topic=settings.topics.retry(tier)))


async def standing_at(settings: KafkaSettings, tier: int) -> int:
    """What the tier's group has committed."""
    topics = settings.topics
    return (await committed(settings, topics.retry_group(tier), topics.retry(tier), [0])).get(0, 0)


async def test_jobs_come_back_to_their_lane_in_order_when_they_are_due_and_not_before(
    settings: KafkaSettings, publisher: KafkaPublisher, tail: Tail
) -> None:
    ids = [f"job-{number}" for number in range(20)]
    async with serving(settings, publisher) as served:
        began = asyncio.get_running_loop().time()
        await put_aside(settings, publisher, *ids)
        await eventually(lambda: served.waiting > 0)
        await eventually(lambda: len(tail.ids(settings.topics.lane(LIVE))) == len(ids), timeout_s=20)
        assert asyncio.get_running_loop().time() - began >= SHORT_S
        await eventually(lambda: served.consumer.open_count == 0)

    assert tail.ids(settings.topics.lane(LIVE)) == ids
    assert await standing_at(settings, 1) == len(ids)
    back = tail.of(settings.topics.lane(LIVE))[0]
    assert back.headers["ce_attempt"] == b"1"


async def test_a_record_that_is_no_job_is_buried_without_waiting_for_the_others(
    settings: KafkaSettings, publisher: KafkaPublisher, tail: Tail
) -> None:
    topics = settings.topics
    await publisher.publish(OutRecord(topics.retry(1), b"k", b"hello", []))
    await put_aside(settings, publisher, "good")
    async with serving(settings, publisher):
        await eventually(lambda: tail.ids(topics.lane(LIVE)) == ["good"], timeout_s=20)
    (letter,) = tail.of(topics.dead_letter(topics.retry(1)))
    assert (letter.key, letter.value) == (b"k", b"hello")


async def test_a_member_that_waits_lets_a_rebalance_pass_at_once_and_loses_nothing(
    settings: KafkaSettings, publisher: KafkaPublisher, tail: Tail
) -> None:
    await put_aside(settings, publisher, "a", "b", tier=2)
    async with serving(settings, publisher, 2) as first:
        await eventually(lambda: first.waiting == 2, timeout_s=20)

        # When another joins while the first waits for ten minutes
        async with asyncio.timeout(20), serving(settings, publisher, 2) as second:
            # Then one of them holds the tier again, from where the group stood
            await eventually(lambda: first.waiting + second.waiting == 2, timeout_s=20)
        await eventually(lambda: first.waiting == 2, timeout_s=20)
    assert await standing_at(settings, 2) == 0
    assert tail.ids(settings.topics.lane(LIVE)) == []

    # And who comes last, with the time over, puts both back
    async with serving(settings, publisher, 2, delay_s=0.0):
        await eventually(lambda: set(tail.ids(settings.topics.lane(LIVE))) == {"a", "b"}, timeout_s=20)


async def test_what_a_member_that_dies_had_waiting_comes_again(
    settings: KafkaSettings, publisher: KafkaPublisher, tail: Tail
) -> None:
    await put_aside(settings, publisher, "a", tier=2)
    dead = Served(settings, publisher, 2, LONG_S)
    await dead.consumer.__aenter__()
    running = asyncio.create_task(dead.tier.run(dead.consumer))
    await eventually(lambda: dead.waiting == 1, timeout_s=20)
    # It neither drains nor commits
    assert dead.consumer._client is not None
    assert dead.consumer._committer is not None
    for task in (running, dead.consumer._committer):
        task.cancel()
    await asyncio.gather(running, dead.consumer._committer, return_exceptions=True)
    await dead.consumer._client.stop()

    async with serving(settings, publisher, 2, delay_s=0.0):
        await eventually(lambda: tail.ids(settings.topics.lane(LIVE)) == ["a"], timeout_s=30)
