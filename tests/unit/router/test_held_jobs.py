"""Jobs that were put aside, over twins: who goes back, who stays, and when all are looked at again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from producers.holds import Holds
from producers.memory import MemoryLog
from schemas.errors import QueueUnavailable
from schemas.hold_documents import encode_hold
from schemas.holds import Action, Hold, HoldSet
from schemas.records import LaneJob, OutRecord
from tests.unit.inference.jobs import LIVE_TOPIC, NOON, TOPICS, lane_job, out_record
from tests.unit.router.requests import CATALOG, INSTANCES, NOW, record
from tests.unit.schemas.test_holds import hold
from tests.waiting import LoopClock, eventually
from workers.memory import MemoryConsumer, MemoryGroup
from workers.router.held import EVERY_S, HeldJobs
from workers.router.placing import Placing
from workers.router.routing import Begun, Refused, begin
from workers.router.submission import Limits

ACME, BOB = hold(hold_id="acme", tenant="acme"), hold(hold_id="bob", tenant="bob")


class Site:
    """The router's part that looks after them, and the topic; the test sets holds and moves the clock."""

    def __init__(self) -> None:
        self.log = MemoryLog(partitions=1)
        self.holds = Holds()
        self.now: datetime = NOON
        self.group = MemoryGroup(self.log, [TOPICS.held])
        self.jobs = HeldJobs(self.log, TOPICS, Placing(TOPICS, 60.0), self.holds, lambda: self.now)
        self.member: MemoryConsumer

    def set(self, *holds: Hold) -> None:
        for each in holds:
            self.holds.apply(each.id.encode(), encode_hold(each))

    def release(self, hold: Hold) -> None:
        self.holds.apply(hold.id.encode(), None)

    async def put_aside(self, *jobs: LaneJob) -> None:
        await self.log.publish_all([out_record(job)._replace(topic=TOPICS.held, partition=0) for job in jobs])

    def returned(self) -> list[str]:
        return [dict(out.headers)["ce_id"].decode() for out in self.log.records(LIVE_TOPIC)]

    def written(self) -> list[str]:
        """All that was ever put aside, in order."""
        return [dict(out.headers)["ce_id"].decode() for out in self.log.records(TOPICS.held)]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with site.group.member() as site.member:
        running = asyncio.create_task(site.jobs.run(site.member))
        try:
            yield site
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def of(tenant: str, job_id: str, **fields: Any) -> LaneJob:
    return msgspec.structs.replace(lane_job(job_id), tenant=tenant, **fields)


async def test_a_job_waits_while_its_tenant_is_held_and_goes_back_as_it_was(site: Site) -> None:
    site.set(ACME)
    await site.put_aside(of("acme", "a"))
    await eventually(lambda: site.written() == ["a", "a"])
    assert site.returned() == []
    site.release(ACME)
    await eventually(lambda: site.returned() == ["a"] and site.member.open_count == 0)
    assert site.log.records(LIVE_TOPIC)[0] == out_record(of("acme", "a"))._replace(grown=True)


async def test_what_was_put_aside_first_goes_back_first_and_others_stay(site: Site) -> None:
    site.set(ACME, BOB)
    await site.put_aside(of("acme", "a1"), of("bob", "b1"), of("acme", "a2"), of("bob", "b2"), of("acme", "a3"))
    await eventually(lambda: len(site.written()) == 10)
    site.release(ACME)
    await eventually(lambda: site.returned() == ["a1", "a2", "a3"])
    await eventually(lambda: site.written()[10:12] == ["b1", "b2"])
    site.release(BOB)
    await eventually(lambda: site.returned() == ["a1", "a2", "a3", "b1", "b2"] and site.member.open_count == 0)


async def test_many_are_gone_through_once_a_turn(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.router.asides.FETCH_RECORDS", 3)
    site.set(ACME, BOB)
    names = [f"{number:02}" for number in range(10)]
    await site.put_aside(*(of("acme" if number % 2 else "bob", name) for number, name in enumerate(names)))
    await eventually(lambda: len(site.written()) == 20)
    site.release(BOB)
    await eventually(lambda: site.returned() == names[::2])
    await eventually(lambda: site.written()[20:] == names[1::2])


async def test_what_a_worker_puts_aside_that_has_not_heard_of_the_release_goes_back_soon(
    site: Site, loop_clock: LoopClock
) -> None:
    site.set(ACME, BOB)
    await site.put_aside(of("acme", "a"), of("bob", "b"))
    await eventually(lambda: len(site.written()) == 4)
    site.release(ACME)
    await eventually(lambda: site.returned() == ["a"] and site.written().count("b") == 3)
    await site.put_aside(of("acme", "late"))  # behind the other, which says that all were looked at
    await loop_clock.in_time(eventually(lambda: site.returned() == ["a", "late"]))


async def test_who_hears_of_the_release_after_seconds_holds_no_job_up_for_long(
    site: Site, loop_clock: LoopClock
) -> None:
    site.set(ACME, BOB)
    await site.put_aside(of("acme", "a"), of("bob", "b"))
    await eventually(lambda: len(site.written()) == 4)
    site.release(ACME)
    await loop_clock.in_time(eventually(lambda: site.returned() == ["a"] and site.written().count("b") == 4))
    released_s = loop_clock.now_s()
    await site.put_aside(of("acme", "late"))  # behind the other, at which all have looked once more
    await loop_clock.in_time(eventually(lambda: site.returned() == ["a", "late"]))
    assert loop_clock.now_s() - released_s < 60


@pytest.mark.parametrize(("bytes_s", "rests_s"), [(0.0, EVERY_S), (10.0, 10 * EVERY_S)], ids=["small", "large"])
async def test_all_are_looked_at_again_now_and_then_more_seldom_where_they_are_large(
    site: Site, loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch, bytes_s: float, rests_s: float
) -> None:
    value = out_record(of("acme", "a")).value or b""
    monkeypatch.setattr("workers.router.held.EVERY_S_A_BYTE", bytes_s * EVERY_S / len(value))
    site.set(ACME)
    await site.put_aside(of("acme", "a"))
    await loop_clock.in_time(eventually(lambda: len(site.written()) == 4))
    started_s = loop_clock.now_s()
    await loop_clock.in_time(eventually(lambda: len(site.written()) == 5), step_s=5.0)
    assert rests_s - 10 <= loop_clock.now_s() - started_s <= rests_s + 60


async def test_what_lets_none_of_them_go_writes_none_of_them_anew(site: Site) -> None:
    refusing = hold(Action.REFUSE, "refused", tenant="bob")
    site.set(ACME, refusing, hold(hold_id="lane", model="digits"))
    await site.put_aside(of("acme", "a"))
    await eventually(lambda: site.written() == ["a", "a"] and site.jobs._waiting)
    turn = site.jobs._turn
    site.set(BOB, hold(Action.REFUSE, "more", model="digits"))
    site.release(refusing)
    site.release(hold(hold_id="lane", model="digits"))
    assert site.jobs._turn == turn
    site.release(BOB)
    await eventually(lambda: site.written() == ["a", "a", "a"])


async def test_a_job_is_let_go_to_its_end_by_an_end_that_comes_while_it_waits(site: Site) -> None:
    site.set(ACME)
    await site.put_aside(of("acme", "a"))
    await eventually(lambda: site.written() == ["a", "a"] and site.jobs._waiting)
    site.set(hold(Action.END, "end", tenant="acme"))
    await eventually(lambda: site.returned() == ["a"])


@pytest.mark.parametrize("reason", ["late", "ended"])
async def test_a_job_that_is_over_goes_to_its_lane_to_end_there(site: Site, reason: str) -> None:
    site.set(ACME)
    if reason == "late":
        site.now = NOON + timedelta(days=1)
    else:
        site.set(hold(Action.END, "end", tenant="acme"))
    await site.put_aside(of("acme", "a"))
    await eventually(lambda: site.returned() == ["a"])


async def test_a_record_that_is_no_job_is_buried_and_holds_nobody_up(site: Site) -> None:
    await site.log.publish(OutRecord(TOPICS.held, b"k", b"hello", [], partition=0))
    await site.put_aside(of("acme", "a"))
    await eventually(lambda: site.returned() == ["a"])
    (letter,) = site.log.records(TOPICS.dead_letter(TOPICS.held))
    assert letter.value == b"hello"


async def test_a_lost_partition_takes_what_waits_along_and_it_comes_again(site: Site) -> None:
    site.set(ACME)
    await site.put_aside(of("acme", "a"))
    await eventually(lambda: site.written() == ["a", "a"] and site.jobs._waiting)
    partitions = list(site.member._positions)
    await site.jobs.drain(frozenset(partitions))
    site.member.lose_all()
    assert site.jobs._waiting == []
    site.member.receive(partitions)
    await eventually(lambda: site.jobs._waiting)
    site.release(ACME)
    await eventually(lambda: site.returned() == ["a"])


async def test_a_job_that_is_being_put_back_is_done_once_that_is_acknowledged(site: Site) -> None:
    site.set(ACME)
    await site.put_aside(of("acme", "a"))
    await eventually(lambda: site.written() == ["a", "a"] and site.jobs._waiting)
    site.log.fail_next = [QueueUnavailable("down")]
    site.release(ACME)
    await eventually(lambda: not site.log.fail_next)
    await site.jobs.drain(frozenset(site.member._positions))
    assert (site.returned(), site.member.open_count) == (["a"], 0)


def test_a_job_of_a_direct_producer_that_is_refused_ends_as_failed_with_the_reason() -> None:
    asked = record(INSTANCES, ("ce_model", "vector"), ("ce_id", "j"))
    refusing = HoldSet([hold(Action.REFUSE, model="vector", version="1", reason="bad labels")])
    refused = begin(asked, CATALOG, {}, Limits(), NOW, refusing)
    assert isinstance(refused, Refused)
    error = refused.terminal.error
    assert error is not None
    assert (error.code, "bad labels" in error.message, refused.unforeseen) == ("admission_refused", True, None)
    elsewhere = HoldSet([hold(Action.REFUSE, model="vector", version="2")])
    assert isinstance(begin(asked, CATALOG, {}, Limits(), NOW, elsewhere), Begun)
