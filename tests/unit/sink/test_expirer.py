"""Ending overdue jobs, and what a sink does on the side."""

import asyncio
from datetime import datetime, timedelta

import msgspec
import pytest
from prometheus_client import REGISTRY

from producers.memory import MemoryLog
from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.jobs import Job, Status
from schemas.records import read_terminal_record
from schemas.topics import LaneClass
from stores.memory import MemoryJobs
from stores.memory_signals import MemorySignals
from stores.protocols import IdempotencyKey, JobKey
from stores.replays import KEY_KEPT
from tests.unit.sink.ends import NOW, TOPICS
from tests.waiting import eventually
from workers.sink import expirer
from workers.sink.chores import mark_running, purge
from workers.sink.expirer import AGAIN_AFTER_S, Expirer

GRACE_S = 2.0


def job(job_id: str, expires_at: datetime) -> Job:
    return Job(
        tenant="default",
        id=job_id,
        model="digits",
        version="2",
        lane=LaneClass.BULK,
        status=Status.QUEUED,
        created_at=NOW - timedelta(seconds=600),
        expires_at=expires_at,
        rows=3,
    )


class Sweeper:
    """An expirer over twins, with clocks to be turned by hand."""

    def __init__(self) -> None:
        self.now = NOW
        self.now_s = 0.0
        self.log = MemoryLog(partitions=1)
        self.jobs = MemoryJobs()
        self.expirer = Expirer(
            self.jobs,
            self.log,
            TOPICS,
            lambda: self.now,
            grace_s=GRACE_S,
            interval_s=0.01,
            clock_s=lambda: self.now_s,
        )

    @property
    def ended(self) -> list[str]:
        return [dict(out.headers)["ce_id"].decode() for out in self.log.records(TOPICS.results)]


@pytest.fixture
def sweeper() -> Sweeper:
    return Sweeper()


async def test_a_job_is_ended_once_its_deadline_and_the_grace_have_passed(sweeper: Sweeper) -> None:
    await sweeper.jobs.insert(job("due", NOW))
    sweeper.now = NOW + timedelta(seconds=GRACE_S - 0.1)
    await sweeper.expirer.sweep()
    assert sweeper.ended == []

    sweeper.now = NOW + timedelta(seconds=GRACE_S)
    await sweeper.expirer.sweep()
    (out,) = sweeper.log.records(TOPICS.results)
    ended = read_terminal_record(tuple(out.headers), out.value)
    assert (ended.id, ended.status, ended.lane, ended.rows) == ("due", Status.FAILED, LaneClass.BULK, 3)
    assert ended.error is not None
    assert ended.error.code == "deadline_exceeded"


async def test_a_job_is_not_ended_again_while_its_end_is_on_its_way(sweeper: Sweeper) -> None:
    await sweeper.jobs.insert(job("due", NOW - timedelta(seconds=60)))
    await sweeper.expirer.sweep()
    sweeper.now_s = AGAIN_AFTER_S - 1
    assert not await sweeper.expirer.sweep()
    assert sweeper.ended == ["due"]

    sweeper.now_s = AGAIN_AFTER_S
    await sweeper.expirer.sweep()
    assert sweeper.ended == ["due", "due"], "what was published a minute ago may have been lost"


async def test_the_next_sweep_comes_soon_only_where_it_may_see_more(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expirer, "AT_ONCE", 2)
    for number in range(3):
        await sweeper.jobs.insert(job(f"due{number}", NOW - timedelta(seconds=60)))
    # A full sweep that ended some: there may be others behind them
    assert await sweeper.expirer.sweep()
    # The same jobs again, whose ends are on their way: nothing else is to be seen before these are there
    assert not await sweeper.expirer.sweep()


async def test_what_could_not_be_published_is_tried_at_the_next_sweep(sweeper: Sweeper) -> None:
    await sweeper.jobs.insert(job("due", NOW - timedelta(seconds=60)))
    sweeper.log.fail_next = [QueueUnavailable("away")]
    await sweeper.expirer.sweep()
    assert sweeper.ended == []
    await sweeper.expirer.sweep()
    assert sweeper.ended == ["due"]


async def test_what_has_ended_is_forgotten(sweeper: Sweeper) -> None:
    await sweeper.jobs.insert(job("due", NOW - timedelta(seconds=60)))
    await sweeper.expirer.sweep()
    (out,) = sweeper.log.records(TOPICS.results)
    await sweeper.jobs.finish([read_terminal_record(tuple(out.headers), out.value)])
    assert not await sweeper.expirer.sweep()
    assert sweeper.expirer._ended_at_s == {}


async def test_sweeping_goes_on_when_the_store_was_away(sweeper: Sweeper) -> None:
    await sweeper.jobs.insert(job("due", NOW - timedelta(seconds=60)))
    sweeper.jobs.down = True
    sweeping = asyncio.create_task(sweeper.expirer.run())
    with pytest.raises(AssertionError, match="not within"):
        await eventually(lambda: sweeper.ended, timeout_s=0.1)
    sweeper.jobs.down = False
    await eventually(lambda: sweeper.ended == ["due"])
    sweeping.cancel()


async def test_jobs_are_marked_as_running_as_workers_say() -> None:
    jobs, signals = MemoryJobs(), MemorySignals()
    key = JobKey("default", "a")
    await jobs.insert(job("a", NOW))
    marking = asyncio.create_task(mark_running(signals, jobs))
    await eventually(lambda: signals.connected)

    jobs.down = True
    await signals.announce_running([JobKey("default", "lost")], NOW)
    with pytest.raises(StoreUnavailable):
        await jobs.get(key)
    jobs.down = False

    async def running() -> bool:
        await signals.announce_running([key], NOW)
        found = await jobs.get(key)
        return found is not None and found.status is Status.RUNNING and found.started_at == NOW

    await eventually(running)
    marking.cancel()


def failures_of_purges() -> float:
    return REGISTRY.get_sample_value("penstock_sink_purge_failures_total", {"table": "all"}) or 0.0


async def test_old_keys_are_purged_again_and_again() -> None:
    now = NOW
    jobs = MemoryJobs(lambda: now)
    old = IdempotencyKey("old", b"")
    await jobs.insert(job("a", NOW), old)
    await jobs.confirm(job("a", NOW), old)
    jobs.down = True
    failed = failures_of_purges()
    purging = asyncio.create_task(purge(jobs, lambda: now, interval_s=0.01))

    await eventually(lambda: failures_of_purges() > failed)
    now = NOW + KEY_KEPT + timedelta(seconds=1)
    jobs.down = False

    async def taken_anew() -> bool:
        return not (await jobs.insert(msgspec.structs.replace(job("b", NOW)), old)).replayed

    await eventually(taken_anew)
    purging.cancel()
