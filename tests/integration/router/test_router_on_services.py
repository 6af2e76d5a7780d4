"""The router on real Kafka and Postgres: direct producers' records to their lanes, their ends, or the dead letters."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
from confluent_kafka import Producer

from runtime.process import serve
from schemas.jobs import Status
from schemas.records import OutRecord, read_terminal_record
from stores.protocols import JobKey
from tests.integration.joined import joined
from tests.integration.kafka.reading import committed
from tests.integration.kafka.tail import Tail, tailing
from tests.integration.router.conftest import Site
from tests.waiting import eventually, soon
from workers.router.main import RouterRole

INSTANCES = json.dumps({"instances": [[1, 2]]}).encode()
LANE = "lane.vector.1.live.v1"


def routing(site: Site) -> AbstractAsyncContextManager[RouterRole]:
    """A router that has joined its group."""
    return joined(site.settings, RouterRole(site.settings))


@pytest.fixture
async def tail(site: Site) -> AsyncIterator[Tail]:
    topics = site.settings.topics
    lane = f"{topics.prefix}.{LANE}"
    async with tailing(site.settings, [lane, topics.results, topics.dead_letter(topics.requests)]) as opened:
        yield opened


async def write(site: Site, value: bytes, **headers: str) -> None:
    encoded = [(name, text.encode()) for name, text in headers.items()]
    await site.publisher.publish(OutRecord(site.settings.topics.requests, None, value, encoded))


async def all_is_committed(site: Site) -> bool:
    """Whether the group stands at the end of every partition of the requests topic."""
    topics = site.settings.topics
    marks = await committed(site.settings, topics.router_group, topics.requests, range(3))
    async with tailing(site.settings, [topics.requests]) as everything:
        await eventually(lambda: len(everything.seen) >= sum(marks.values()))
        return len(everything.seen) == sum(marks.values())


async def test_a_bare_json_record_by_another_client_is_a_job_in_its_lane(site: Site, tail: Tail) -> None:
    producer = Producer({"bootstrap.servers": site.settings.kafka_bootstrap_servers})
    async with routing(site):
        producer.produce(site.settings.topics.requests, INSTANCES, headers=[("model", "vector")], partition=1)
        await asyncio.to_thread(producer.flush, 10)
        await eventually(lambda: tail.of(f"{site.settings.topic_prefix}.{LANE}"))

    (record,) = tail.seen
    job_id = f"{site.settings.topics.requests}-1-0"
    assert record.headers["ce_id"].decode() == job_id
    job = await site.jobs.get(JobKey("default", job_id))
    assert job is not None
    assert (job.status, job.model, job.version, job.rows) == (Status.QUEUED, "vector", "1", 1)


async def test_every_record_goes_where_it_belongs_and_none_twice(site: Site, tail: Tail) -> None:
    topics = site.settings.topics
    async with routing(site):
        for number in range(50):
            await write(site, INSTANCES, model="vector", ce_id=f"good-{number}")
            await write(site, INSTANCES, model="nosuch", ce_id=f"unknown-{number}")
            await write(site, INSTANCES, note="no model")
        await eventually(lambda: len(tail.seen) >= 150)
        await eventually(lambda: all_is_committed(site))

    assert sorted(tail.ids(f"{topics.prefix}.{LANE}")) == sorted(f"good-{number}" for number in range(50))
    assert sorted(tail.ids(topics.results)) == sorted(f"unknown-{number}" for number in range(50))
    letters = tail.of(topics.dead_letter(topics.requests))
    assert len(letters) == 50
    assert {letter.value for letter in letters} == {INSTANCES}
    assert {letter.headers["__dlq.errors.group"] for letter in letters} == {topics.router_group.encode()}


async def test_while_postgres_is_away_records_wait_and_then_go_on(site: Site, tail: Tail) -> None:
    lane = f"{site.settings.topic_prefix}.{LANE}"
    async with routing(site):
        await write(site, INSTANCES, model="vector", ce_id="before")
        await eventually(lambda: tail.ids(lane) == ["before"])
        await site.gate.shut()
        for number in range(20):
            await write(site, INSTANCES, model="vector", ce_id=f"during-{number}")
        with pytest.raises(AssertionError, match="not within"):
            await eventually(lambda: len(tail.ids(lane)) > 1, timeout_s=1)

        await site.gate.open()
        await eventually(lambda: len(tail.ids(lane)) == 21, timeout_s=20)
        await eventually(lambda: all_is_committed(site))
    for number in range(20):
        assert await site.jobs.get(JobKey("default", f"during-{number}")) is not None


async def begun_before_its_database(site: Site, stop: asyncio.Event) -> "tuple[RouterRole, asyncio.Task[None]]":
    """A router that has just begun to connect to a Postgres that does not answer."""
    site.gate.hold()
    role = RouterRole(site.settings)
    serving = asyncio.create_task(serve(site.settings, role, stop))
    await eventually(lambda: site.gate._passing)
    assert role.checks["group"]() == "joining the group"
    assert role.checks["routes"]() == "the routes are being read"
    return role, serving


async def test_a_router_may_start_before_its_database(site: Site, tail: Tail) -> None:
    stop = asyncio.Event()
    _, serving = await begun_before_its_database(site, stop)
    await write(site, INSTANCES, model="vector", ce_id="early")

    site.gate.release()
    await eventually(lambda: tail.ids(f"{site.settings.topic_prefix}.{LANE}") == ["early"], timeout_s=20)
    stop.set()
    await asyncio.wait_for(serving, 20)


async def test_a_router_that_is_stopped_before_it_is_complete_stops_at_once(site: Site) -> None:
    stop = asyncio.Event()
    _, serving = await begun_before_its_database(site, stop)
    stop.set()
    await soon(serving)


async def test_what_a_stopped_router_left_open_the_next_one_routes(site: Site, tail: Tail) -> None:
    lane = f"{site.settings.topic_prefix}.{LANE}"
    async with routing(site) as role:
        role._consumer._drain_limit_s = 0.2
        await site.gate.shut()
        await write(site, INSTANCES, model="vector", ce_id="left")
        await eventually(lambda: role._consumer.open_count == 1)
    assert tail.ids(lane) == []

    await site.gate.open()
    async with routing(site):
        await eventually(lambda: tail.ids(lane) == ["left"])


async def test_a_lane_that_does_not_exist_ends_the_job_and_holds_up_no_other(site: Site, tail: Tail) -> None:
    async with routing(site):
        await write(site, INSTANCES, model="laneless", ce_id="nowhere")
        await write(site, INSTANCES, model="vector", ce_id="somewhere")
        await eventually(lambda: tail.ids(f"{site.settings.topic_prefix}.{LANE}") == ["somewhere"])
        (record,) = await eventually(lambda: tail.of(site.settings.topics.results), timeout_s=30)

    ended = read_terminal_record(tuple(record.headers.items()), record.value)
    assert ended.error is not None
    assert (ended.id, ended.error.code) == ("nowhere", "topic_missing")


async def test_two_routers_share_the_work(site: Site, tail: Tail) -> None:
    lane = f"{site.settings.topic_prefix}.{LANE}"
    ids = [f"job-{number}" for number in range(200)]
    async with routing(site):
        for job_id in ids[:100]:
            await write(site, INSTANCES, model="vector", ce_id=job_id)
        async with routing(site):
            for job_id in ids[100:]:
                await write(site, INSTANCES, model="vector", ce_id=job_id)
            await eventually(lambda: set(tail.ids(lane)) == set(ids), timeout_s=20)
    assert len(tail.ids(lane)) == len(ids), "drained on revocation and on leaving: none is routed twice"


async def test_a_refused_job_keeps_its_webhook_and_so_does_what_it_is_replayed_as(site: Site, tail: Tail) -> None:
    hook, events = "https://example.com/hook", ("job.failed", "job.canceled")

    async def told(job_id: str) -> tuple[object, object] | None:
        job = await site.jobs.get(JobKey("default", job_id))
        return None if job is None else (job.webhook, job.webhook_events)

    named = {"ce_webhook": hook, "ce_webhookevents": ",".join(events)}
    async with routing(site):
        await write(site, INSTANCES, model="nosuch", ce_id="refused", **named)
        await eventually(lambda: tail.ids(site.settings.topics.results) == ["refused"])
        assert await told("refused") == (hook, events)
        await write(site, INSTANCES, model="vector", ce_id="again", ce_replayof="refused")
        await eventually(lambda: tail.ids(f"{site.settings.topic_prefix}.{LANE}") == ["again"])
    assert await told("again") == (hook, events)
