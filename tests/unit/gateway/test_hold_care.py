"""What waits is ended, and what was written and not told is told later, by whichever gateway finds it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.hold_care import STANDS, HoldCare
from producers.hold_telling import HoldTeller
from producers.holds import Holds
from producers.memory import MemoryLog
from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.hold_documents import encode_hold
from schemas.holds import Action, Hold
from schemas.jobs import Status
from schemas.records import OutRecord
from schemas.topics import Topics
from stores.holds import EXPIRE
from stores.memory import MemoryJobs
from stores.memory_holds import MemoryHolds
from stores.memory_signals import MemorySignals
from tests.contracts.stores.building import NOW, Clock, key_of, queued
from tests.unit.schemas.test_holds import NOON, hold
from tests.waiting import LoopClock, eventually

TOPICS = Topics()


class Site:
    """A store, the topic, and a gateway that follows it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.jobs = MemoryJobs(self.clock)
        self.store = MemoryHolds(self.jobs)
        self.log = MemoryLog()
        self.holds = Holds()
        self.signals = MemorySignals(clock=self.clock)
        self.caught_up = asyncio.Event()
        teller = HoldTeller(self.store, self.log, TOPICS, within_s=60.0)
        self.care = HoldCare(self.store, self.store, teller, self.holds, self.caught_up, self.signals, self.clock)
        self.log.on_write.append(self.follow)
        self.read = 0

    def follow(self) -> None:
        for record in self.log.records(TOPICS.holds)[self.read :]:
            self.holds.apply(record.key or b"", record.value)
            self.read += 1

    async def set(self, hold_id: str = "h", **fields: Any) -> Hold:
        made = hold(hold_id=hold_id, after_s=(self.clock() - NOON).total_seconds(), **({"model": "digits"} | fields))
        await self.store.add(made, 0)
        return made

    @property
    def followed(self) -> list[str]:
        return sorted(self.holds.now.by_id)


@pytest.fixture
async def site() -> Site:
    return Site()


async def test_a_hold_that_was_written_and_not_told_is_told_at_the_second_look(site: Site) -> None:
    await site.set()
    await site.care.look()
    assert site.followed == []
    await site.care.look()
    assert site.followed == ["h"]
    await site.care.look()
    assert len(site.log.records(TOPICS.holds)) == 1


async def test_a_release_that_was_not_told_is_told(site: Site) -> None:
    await site.set()
    for _ in range(2):
        await site.care.look()
    await site.store.remove("h", "bert", NOW)
    for _ in range(2):
        await site.care.look()
    assert site.followed == []


async def test_a_hold_that_the_store_has_again_after_its_release_is_not_told_for_ever(site: Site) -> None:
    await site.set()
    site.holds.apply(b"h", None)
    with capture_logs() as logs:
        for _ in range(3):
            await site.care.look()
    assert [line["log_level"] for line in logs] == ["error"]
    assert site.log.records(TOPICS.holds) == []


async def test_a_hold_that_the_topic_has_again_behind_its_release_is_released_there_too(site: Site) -> None:
    made = await site.set()
    for _ in range(2):
        await site.care.look()
    await site.store.remove("h", "bert", NOW)
    await site.log.publish(OutRecord(TOPICS.holds, b"h", None, [], partition=0))
    # A record that was not acknowledged in time came to the topic after all
    await site.log.publish(OutRecord(TOPICS.holds, b"h", encode_hold(made), [], partition=0))
    for _ in range(3):
        await site.care.look()
    starting = Holds()
    for record in site.log.records(TOPICS.holds):
        starting.apply(record.key or b"", record.value)
    assert (list(starting.now.by_id), site.followed) == ([], [])
    assert len(site.log.records(TOPICS.holds)) == 4


async def test_a_topic_that_was_made_anew_is_told_what_stands_and_what_was_released_meanwhile(site: Site) -> None:
    await site.set("stands")
    await site.set("released")
    for _ in range(2):
        await site.care.look()
    await site.store.remove("released", "bert", NOW)
    told_before = len(site.log.records(TOPICS.holds))
    site.holds.begun()  # of the topic that was made anew nothing is read: it is empty
    site.holds.ended()
    assert site.followed == ["released", "stands"]
    for _ in range(3):
        await site.care.look()
    told = [(record.key, record.value is None) for record in site.log.records(TOPICS.holds)[told_before:]]
    assert (site.followed, told) == (["stands"], [(b"released", True), (b"stands", False)])


async def test_a_hold_whose_record_was_written_over_is_told_again(site: Site) -> None:
    made = await site.set()
    for _ in range(2):
        await site.care.look()
    await site.log.publish(OutRecord(TOPICS.holds, b"h", b"{", [], partition=0))
    for _ in range(3):
        await site.care.look()
    assert [record.value for record in site.log.records(TOPICS.holds)[2:]] == [encode_hold(made)]


async def test_an_end_that_gets_nowhere_keeps_no_hold_from_being_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: object, **__: object) -> None:
        raise StoreUnavailable("the statement takes too long")

    monkeypatch.setattr(site.store, "end", stuck)
    await site.set("e", action=Action.END)
    await site.set("h")
    for _ in range(2):
        await site.care.look()
    assert site.followed == ["e", "h"]


async def test_a_topic_that_cannot_be_told_keeps_no_job_from_ending(site: Site) -> None:
    await site.set("h", tenant="acme")
    await site.care.look()
    await site.set("e", action=Action.END)
    job = queued()
    await site.jobs.insert(job)
    site.log.fail_next = [QueueUnavailable("down")]
    await site.care.look()
    assert site.jobs._jobs[key_of(job)].status is Status.CANCELED


async def test_what_waits_is_ended_and_told_step_by_step(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.hold_care.STEP_JOBS", 2)
    jobs = [queued() for _ in range(5)]
    for job in jobs:
        await site.jobs.insert(job)
    announced: list[Any] = []
    site.signals.announce_done = lambda keys, _=(): _noted(announced, keys)  # type: ignore[method-assign,assignment]
    await site.set(action=Action.END)
    await site.care.look()
    assert sorted(announced) == sorted(map(key_of, jobs))
    found = [await site.jobs.get(key_of(job)) for job in jobs]
    assert {job.status for job in found if job is not None} == {Status.CANCELED}


async def _noted(announced: list[Any], keys: Any) -> None:
    announced += keys


async def test_a_row_that_was_written_late_is_ended_too_and_after_a_while_nobody_looks(site: Site) -> None:
    await site.set(action=Action.END)
    await site.care.look()
    late = queued()
    await site.jobs.insert(late)
    site.clock.forward(seconds=31)
    await site.care.look()
    found = await site.jobs.get(key_of(late))
    assert found is not None
    assert found.status is Status.CANCELED
    later = queued()
    await site.jobs.insert(later)
    await site.care.look()
    found = await site.jobs.get(key_of(later))
    assert found is not None
    assert found.status is Status.QUEUED


async def test_an_end_that_can_meet_no_job_any_more_is_forgotten_and_a_hold_is_not(site: Site) -> None:
    await site.set("e", action=Action.END)
    await site.set("h")
    for _ in range(2):
        await site.care.look()
    site.clock.forward(seconds=(STANDS + timedelta(seconds=1)).total_seconds())
    await site.care.look()
    assert (site.followed, [each.id for each in await site.store.all()]) == (["h"], ["h"])
    assert (await site.store.audit(before=None, limit=1))[0].verb == EXPIRE


async def test_it_goes_on_by_itself_whatever_is_away_meanwhile(site: Site, loop_clock: LoopClock) -> None:
    site.caught_up.set()
    site.store.down = True
    running = asyncio.create_task(site.care.run())
    try:
        await loop_clock.in_time(eventually(lambda: loop_clock.now_s() > 0 and not running.done()))
        site.store.down = False
        site.log.fail_next = [QueueUnavailable("down")]
        await site.set(action=Action.END)
        job = queued()
        await site.jobs.insert(job)
        site.care.changed()
        await loop_clock.in_time(eventually(lambda: site.jobs._jobs[key_of(job)].done and site.followed == ["h"]))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
