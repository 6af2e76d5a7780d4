"""Lanes of a version that was taken back and has no worker, on real Kafka."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from producers.kafka_publisher import KafkaPublisher
from producers.topics import ensure_topics, lane_topics
from runtime.settings import KafkaSettings
from schemas.records import LaneJob, OutRecord, read_lane_record
from schemas.topics import Lane, LaneClass
from tests.integration.kafka.lanes import left
from tests.integration.kafka.tail import Tail, tailing
from tests.unit.inference.canaries import STABLE, canary_job, moves, taken_back
from tests.unit.inference.jobs import BULK, LIVE, lane_job, out_record
from tests.waiting import eventually
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.protocols import Record
from workers.router import moving
from workers.router.moving import Mover
from workers.router.placing import Placing

BOTH = [Lane(LIVE.model, version, cls) for version in (LIVE.version, STABLE) for cls in LaneClass]
TO_LIVE, TO_BULK = (Lane(LIVE.model, STABLE, cls) for cls in LaneClass)
JOBS = 2_000


@pytest.fixture(autouse=True)
def all_have_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "HEARD_WITHIN_S", 0.5)


@pytest.fixture
async def settings(kafka_bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka_bootstrap_servers, topic_prefix=topic_prefix, kafka_session_timeout_s=6
    )
    await ensure_topics(settings, lane_topics(settings, BOTH, 3))
    return settings


@asynccontextmanager
async def mover(settings: KafkaSettings, publisher: KafkaPublisher) -> AsyncIterator[Mover]:
    """A mover that has just heard that version 1 was taken back."""
    by_routes = moves(of=taken_back())
    placing = Placing(settings.topics, 10.0, by_routes.waiting)
    opened = Mover(settings, publisher, by_routes._routes, placing)
    running = asyncio.create_task(opened.run())
    try:
        yield opened
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def put(settings: KafkaSettings, publisher: KafkaPublisher, *jobs: LaneJob) -> None:
    outs = [out_record(job)._replace(topic=settings.topics.lane(job.lane_of)) for job in jobs]
    assert not any(await publisher.publish_all(outs))


def ids(tail: Tail, settings: KafkaSettings, lane: Lane) -> list[str]:
    return tail.ids(settings.topics.lane(lane))


async def test_what_came_by_share_goes_on_and_what_was_named_stays_in_its_lane(
    settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    # Given lanes without a worker, live and bulk, in which jobs by share and by name lie side by side, and nonsense
    live, bulk = [canary_job() for _ in range(JOBS)], [canary_job(lane=BULK) for _ in range(20)]
    named = [lane_job() for _ in range(20)]
    await put(settings, publisher, *named[:10], *live, *bulk, *named[10:])
    lane = settings.topics.lane(LIVE)
    await publisher.publish(OutRecord(lane, b"k", b"nonsense", []))
    topics = [*map(settings.topics.lane, BOTH), settings.topics.dead_letter(lane)]

    # When the version is taken back
    async with tailing(settings, topics) as tail, mover(settings, publisher) as looking:
        await eventually(lambda: len(ids(tail, settings, TO_LIVE)) >= JOBS, 60, "live jobs have gone on")
        await eventually(lambda: len(ids(tail, settings, TO_BULK)) >= 20, 60, "bulk jobs have gone on")
        await eventually(lambda: not looking._since_s, 60, "nothing is left to look after")

        # Then each by share lies in the other version's lane once; what was named waits where it was, and only that
        assert sorted(ids(tail, settings, TO_LIVE)) == sorted(job.id for job in live)
        assert sorted(ids(tail, settings, TO_BULK)) == sorted(job.id for job in bulk)
        gone = read_lane_record(tuple(tail.of(settings.topics.lane(TO_LIVE))[0].headers.items()), b"")
        assert (gone.version, gone.moved_from, gone.variant, gone.revision) == (STABLE, LIVE.version, "stable", 2)
        assert await left(settings, LIVE) == len(named)
        assert await left(settings, BULK) == 0
        assert [letter.value for letter in tail.of(settings.topics.dead_letter(lane))] == [b"nonsense"]
    async with KafkaConsumer(settings, settings.topics.lane_group(LIVE), [lane]) as worker:
        waiting: list[Record] = []
        await eventually(lambda: fetch_into(waiting, worker, len(named)), 30, "the named ones are there for a worker")
        assert {dict(record.headers)["ce_id"].decode() for record in waiting} == {job.id for job in named}
        worker.done(waiting)


async def fetch_into(found: list[Record], consumer: KafkaConsumer, wanted: int) -> bool:
    found.extend(await consumer.fetch(100, 0.2))
    return len(found) >= wanted


async def test_a_lane_that_has_a_worker_is_left_to_it(settings: KafkaSettings, publisher: KafkaPublisher) -> None:
    await put(settings, publisher, canary_job())
    async with KafkaConsumer(settings, settings.topics.lane_group(LIVE), [settings.topics.lane(LIVE)]) as worker:
        found: list[Record] = []
        await eventually(lambda: fetch_into(found, worker, 1), 30)
        async with tailing(settings, [settings.topics.lane(TO_LIVE)]) as tail, mover(settings, publisher) as looking:
            # Its bulk lane is empty, and looked after no longer than others may admit jobs by the route before
            await eventually(lambda: set(looking._since_s) == {LIVE}, 30)
            assert ids(tail, settings, TO_LIVE) == []
        worker.done(found)
