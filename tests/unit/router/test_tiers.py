"""A tier over twins: who waits, who is put back, and what a lost partition takes along."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from producers.memory import MemoryLog
from schemas.errors import PayloadTooLarge, QueueUnavailable
from schemas.records import LaneJob, OutRecord, read_lane_record, read_terminal_record
from tests.unit.inference.canaries import STABLE, STABLE_TOPIC, canary_job, moves, taken_back
from tests.unit.inference.jobs import LIVE_TOPIC, NOON, TOPICS, lane_job, out_record
from tests.waiting import eventually
from workers.memory import MemoryConsumer, MemoryGroup
from workers.moves import MovedTo, nothing_moves
from workers.router.placing import Placing
from workers.router.retries import Tier

TIER_TOPIC = TOPICS.retry(1)


@dataclass
class Site:
    """A tier that is being served; the test moves its clock."""

    log: MemoryLog
    tier: Tier
    member: MemoryConsumer
    group: MemoryGroup
    now: datetime = NOON

    async def put_aside(self, *jobs: str | LaneJob) -> None:
        self.group.clock_ms = lambda: int(NOON.timestamp() * 1000)
        for each in jobs:
            job = lane_job(each, attempt=1) if isinstance(each, str) else each
            await self.log.publish(out_record(job)._replace(topic=TIER_TOPIC))
        await eventually(lambda: len(self.tier._waiting) >= len(jobs))

    def pass_time(self, to_s: float) -> None:
        self.now = NOON + timedelta(seconds=to_s)
        self.tier._changed.set()

    def returned(self) -> list[str]:
        return [dict(out.headers)["ce_id"].decode() for out in self.log.records(LIVE_TOPIC)]


@asynccontextmanager
async def serving(moves: MovedTo = nothing_moves) -> AsyncIterator[Site]:
    log = MemoryLog(partitions=1)
    group = MemoryGroup(log, [TIER_TOPIC])
    async with group.member() as member:
        tier = Tier(1, 10.0, log, TOPICS, Placing(TOPICS, 60.0, moves), lambda: served.now)
        served = Site(log, tier, member, group)
        running = asyncio.create_task(tier.run(member))
        try:
            yield served
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as opened:
        yield opened


async def test_a_job_waits_for_its_delay_and_is_then_put_back_as_it_was(site: Site) -> None:
    await site.put_aside("a")
    site.pass_time(9.9)
    with pytest.raises(AssertionError, match="not within"):
        await eventually(site.returned, timeout_s=0.1)
    site.pass_time(10.0)
    await eventually(lambda: site.returned() == ["a"])
    (there,), (back,) = site.log.records(TIER_TOPIC), site.log.records(LIVE_TOPIC)
    assert back == there._replace(topic=LIVE_TOPIC, grown=True)
    assert site.member.open_count == 0


async def test_a_job_whose_version_was_taken_back_meanwhile_goes_to_the_other() -> None:
    async with serving(moves(of=taken_back()).waiting) as site:
        await site.put_aside(canary_job("a", attempt=1))
        site.pass_time(10.0)
        (out,) = await eventually(lambda: site.log.records(STABLE_TOPIC))
    job = read_lane_record(tuple(out.headers), out.value)
    assert (job.id, job.version, job.moved_from, job.attempt) == ("a", STABLE, "1", 0)
    assert site.returned() == []


async def test_nothing_is_committed_of_what_waits(site: Site) -> None:
    await site.put_aside("a", "b")
    assert set(site.group.committed.values()) <= {0}
    assert site.member.open_count == 2


async def test_a_lost_partition_takes_what_waits_along_and_it_comes_again(site: Site) -> None:
    await site.put_aside("a")
    partitions = list(site.member._positions)
    await site.tier.drain(frozenset(partitions))
    site.member.lose_all()
    assert site.tier._waiting == []

    site.member.receive(partitions)
    await eventually(lambda: site.tier._waiting)
    assert site.member.owns(site.tier._waiting[0])


async def test_a_job_that_is_being_put_back_is_waited_for() -> None:
    async with serving() as site:
        await site.put_aside("a")
        site.log.fail_next = [QueueUnavailable("down")]
        site.pass_time(10.0)
        await eventually(lambda: not site.log.fail_next)
        await site.tier.drain(frozenset(site.member._positions))
        assert site.returned() == ["a"]
        assert site.member.open_count == 0


async def test_a_record_that_is_no_job_is_buried_and_holds_nobody_up(site: Site) -> None:
    await site.log.publish(OutRecord(TIER_TOPIC, b"k", b"hello", []))
    await site.put_aside("a")
    site.pass_time(10.0)
    await eventually(lambda: site.returned() == ["a"])
    (letter,) = site.log.records(TOPICS.dead_letter(TIER_TOPIC))
    assert (letter.value, dict(letter.headers)["__dlq.errors.group"]) == (b"hello", TOPICS.retry_group(1).encode())


async def test_a_job_that_its_lane_cannot_take_back_ends(site: Site) -> None:
    await site.put_aside("a")
    site.log.fail_next = [PayloadTooLarge("large")]
    site.pass_time(10.0)
    (out,) = await eventually(lambda: site.log.records(TOPICS.results))
    end = read_terminal_record(tuple(out.headers), out.value)
    assert end.error is not None
    assert (end.id, end.error.code) == ("a", "payload_too_large")
