"""The sink on real Kafka, Postgres and Redis: ends made durable, waiters woken, overdue jobs ended."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from schemas.errors import DeadlineExceeded
from schemas.jobs import Job, Payload, Status, Terminal, new_job_id
from schemas.records import OutRecord, terminal_record
from schemas.topics import LaneClass
from schemas.webhooks import JOB_EVENTS, Revision
from stores.postgres.webhooks.log import PostgresDeliveryLog
from stores.protocols import JobKey
from stores.webhooks import DeliveryFilter
from tests.integration.joined import joined
from tests.integration.kafka.reading import committed
from tests.integration.kafka.tail import tailing
from tests.integration.sink.conftest import Site
from tests.waiting import eventually
from workers.sink.main import SinkRole


def sinking(site: Site) -> AbstractAsyncContextManager[SinkRole]:
    """A sink that has joined its group."""
    return joined(site.settings, SinkRole(site.settings))


def succeeded(job_id: str, **changes: Any) -> Terminal:
    now = datetime.now(UTC)
    terminal = Terminal(
        tenant="default",
        id=job_id,
        model="digits",
        version="2",
        lane=LaneClass.LIVE,
        status=Status.SUCCEEDED,
        created_at=now,
        expires_at=now + timedelta(seconds=600),
        completed_at=now,
        result=Payload(b'{"outputs": []}'),
    )
    return msgspec.structs.replace(terminal, **changes)


def queued(job_id: str, expires_at: datetime) -> Job:
    return Job(
        tenant="default",
        id=job_id,
        model="digits",
        version="2",
        lane=LaneClass.BULK,
        status=Status.QUEUED,
        created_at=datetime.now(UTC),
        expires_at=expires_at,
    )


async def publish(site: Site, *terminals: Terminal) -> None:
    results = site.settings.topics.results
    assert not any(await site.publisher.publish_all([terminal_record(results, each, "/test") for each in terminals]))


async def statuses(site: Site, ids: Sequence[str]) -> set[Status | None]:
    jobs = [await site.jobs.get(JobKey("default", job_id)) for job_id in ids]
    return {job.status if job else None for job in jobs}


async def is_succeeded(site: Site, *ids: str) -> bool:
    return await statuses(site, ids) == {Status.SUCCEEDED}


async def test_an_end_is_durable_and_its_waiters_are_woken(site: Site) -> None:
    async with sinking(site), aclosing(site.news.done()) as news:  # type: ignore[type-var]
        woken = asyncio.ensure_future(anext(news))
        await eventually(lambda: site.news.connected)
        await publish(site, succeeded("a"))
        assert list(await asyncio.wait_for(woken, 10)) == [JobKey("default", "a")]
        # Woken only when the answer is there to be read.
        assert await is_succeeded(site, "a")


async def test_of_many_ends_of_one_job_the_first_counts_and_every_job_has_one(site: Site) -> None:
    ids = [f"job-{number}" for number in range(300)]
    late = {"status": Status.FAILED, "result": None, "error": DeadlineExceeded("late").body()}
    async with sinking(site):
        await publish(site, *(succeeded(job_id) for job_id in ids))
        await publish(site, *(succeeded(job_id, **late) for job_id in ids))
        await eventually(lambda: all_is_committed(site, 600), timeout_s=20)
    assert await statuses(site, ids) == {Status.SUCCEEDED}


async def all_is_committed(site: Site, count: int) -> bool:
    """Whether `count` records are done; a retried send may have written some of them twice."""
    topics = site.settings.topics
    return sum((await committed(site.settings, topics.sink_group, topics.results, range(3))).values()) >= count


async def test_while_postgres_is_away_ends_wait_and_then_become_durable(site: Site) -> None:
    ids = [f"during-{number}" for number in range(20)]
    async with sinking(site):
        await publish(site, succeeded("before"))
        await eventually(lambda: is_succeeded(site, "before"))
        await site.postgres_gate.shut()
        await publish(site, *map(succeeded, ids))
        with pytest.raises(AssertionError, match="not within"):
            await eventually(lambda: all_is_committed(site, 21), timeout_s=1)

        await site.postgres_gate.open()
        await eventually(lambda: is_succeeded(site, *ids), timeout_s=20)
        await eventually(lambda: all_is_committed(site, 21))


async def test_without_redis_ends_become_durable_all_the_same(site: Site) -> None:
    await site.redis_gate.shut()
    ids = [f"quiet-{number}" for number in range(50)]
    async with sinking(site):
        for job_id in ids:
            await publish(site, succeeded(job_id))
        await eventually(lambda: is_succeeded(site, *ids), timeout_s=20)


async def test_what_ends_no_job_is_a_dead_letter_and_its_neighbors_go_on(site: Site) -> None:
    topics = site.settings.topics
    poisonous = terminal_record(topics.results, succeeded("poison", tenant="a\0b"), "/test")
    async with sinking(site), tailing(site.settings, [topics.dead_letter(topics.results)]) as tail:
        await publish(site, succeeded("a"))
        await site.publisher.publish(OutRecord(topics.results, b"k", b"hello", []))
        await site.publisher.publish(poisonous)
        await publish(site, succeeded("b"))
        await eventually(lambda: len(tail.seen) == 2)
        await eventually(lambda: is_succeeded(site, "a", "b"))
        await eventually(lambda: all_is_committed(site, 4))
    assert {each.value for each in tail.seen} == {b"hello", poisonous.value}


async def test_a_job_that_nobody_ends_is_ended_at_its_deadline_by_the_same_road(site: Site) -> None:
    topics = site.settings.topics
    now = datetime.now(UTC)
    await site.admissions.insert_new([queued("overdue", now), queued("in time", now + timedelta(seconds=600))])
    async with sinking(site), tailing(site.settings, [topics.results]) as tail:
        await eventually(lambda: tail.ids(topics.results) == ["overdue"])
        job = await eventually(lambda: ended(site, "overdue"))
        assert job is not None
        assert (job.status, job.error and job.error.code) == (Status.FAILED, "deadline_exceeded")
        assert await statuses(site, ["in time"]) == {Status.QUEUED}
    assert tail.ids(topics.results) == ["overdue"], "once"


async def ended(site: Site, job_id: str) -> Job | None:
    job = await site.jobs.get(JobKey("default", job_id))
    return job if job is not None and job.done else None


async def test_a_job_is_marked_as_running_when_a_worker_says_so(site: Site) -> None:
    now = datetime.now(UTC)
    await site.admissions.insert_new([queued("a", now + timedelta(seconds=600))])

    async def is_running() -> bool:
        await site.signals.announce_running([JobKey("default", "a")], now)
        return await statuses(site, ["a"]) == {Status.RUNNING}

    async with sinking(site):
        await eventually(is_running)


async def test_a_jobs_own_webhook_is_told_once_that_it_runs_and_how_it_ended(
    site: Site, migrated_postgres_dsn: str
) -> None:
    until = datetime.now(UTC) + timedelta(seconds=600)
    told, untold = new_job_id(), new_job_id()
    hook = {"webhook": "https://example.com/hook"}
    asked = msgspec.structs.replace(queued(told, until), **hook, webhook_events=tuple(JOB_EVENTS))
    await site.admissions.insert_new([asked, msgspec.structs.replace(queued(untold, until), **hook)])
    keys = [JobKey("default", told), JobKey("default", untold)]

    async def are_running() -> bool:
        await site.signals.announce_running(keys, until)
        return await statuses(site, [told, untold]) == {Status.RUNNING}

    async with sinking(site), PostgresDeliveryLog(migrated_postgres_dsn) as log:
        await eventually(are_running)
        await site.signals.announce_running(keys, until)
        for _ in range(2):
            await publish(site, succeeded(told), succeeded(untold))
        await eventually(lambda: all_is_committed(site, 4))
        written = (await log.list("default", DeliveryFilter(), after=None, limit=10)).deliveries
    events = {(each.subject, each.event_type, each.revision, each.url) for each in written}
    assert len(written) == len(events) == 3
    assert events == {
        (told, "job.running", Revision.RUNNING, hook["webhook"]),
        (told, "job.succeeded", Revision.ENDED, hook["webhook"]),
        (untold, "job.succeeded", Revision.ENDED, hook["webhook"]),
    }


async def test_several_sinks_end_every_job_once(site: Site) -> None:
    now = datetime.now(UTC)
    overdue = [f"overdue-{number}" for number in range(100)]
    ids = [f"job-{number}" for number in range(300)]
    await site.admissions.insert_new([queued(job_id, now) for job_id in overdue])
    async with sinking(site):
        await publish(site, *(succeeded(job_id) for job_id in ids[:150]))
        async with sinking(site):
            await publish(site, *(succeeded(job_id) for job_id in ids[150:]))
            await eventually(lambda: is_succeeded(site, *ids), timeout_s=20)
        await eventually(lambda: all_failed(site, overdue), timeout_s=20)


async def all_failed(site: Site, ids: Sequence[str]) -> bool:
    return await statuses(site, ids) == {Status.FAILED}


async def test_what_a_stopped_sink_left_open_the_next_one_makes_durable(site: Site) -> None:
    async with sinking(site) as role:
        role._consumer._drain_limit_s = 0.2
        await site.postgres_gate.shut()
        await publish(site, succeeded("left"))
        await eventually(lambda: role._consumer.open_count == 1)
    await site.postgres_gate.open()
    async with sinking(site):
        await eventually(lambda: is_succeeded(site, "left"))
