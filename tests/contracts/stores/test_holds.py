"""Contract of `HoldStore`, `HoldNews` and `WaitingJobs`."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Protocol

import pytest

from schemas.errors import Conflict
from schemas.hold_documents import WantedHold
from schemas.holds import Action, Hold, Meant
from schemas.jobs import Job, Status
from schemas.topics import LaneClass
from stores.holds import EXPIRE, RELEASE, Ended, HoldNews, HoldStore, Place, WaitingJobs
from stores.memory import MemoryJobs
from stores.memory_holds import MemoryHolds
from stores.postgres.holds import PostgresHolds
from tests.contracts.stores.building import LATER, NOW, Stores, ended, key_of
from tests.waiting import soon


class Holds(HoldStore, HoldNews, WaitingJobs, Protocol):
    """All of one store."""


@pytest.fixture
async def holds(dsn: str | None, stores: Stores) -> AsyncIterator[Holds]:
    if dsn is None:
        assert isinstance(stores.jobs, MemoryJobs)
        yield MemoryHolds(stores.jobs)
        return
    async with PostgresHolds(dsn) as holds:
        yield holds


def hold(hold_id: str = "h1", after_s: float = 0.0, **fields: Any) -> Hold:
    said: dict[str, Any] = {"action": Action.HOLD, "model": "digits", **fields}
    return WantedHold(**said).as_hold(hold_id, "anna", NOW + timedelta(seconds=after_s))


async def test_a_hold_is_read_as_it_was_set_and_the_oldest_comes_first(holds: Holds) -> None:
    first = hold("b", version="1", tenant="acme é", lane=LaneClass.BULK, reason="why")
    second = hold("a", 1, action=Action.END)
    await holds.add(second, 0)
    await holds.add(first, 7)
    assert list(await holds.all()) == [first, second]


async def test_a_release_leaves_the_others_and_there_is_none_to_release_twice(holds: Holds) -> None:
    await holds.add(hold("a"), 0)
    await holds.add(hold("b"), 0)
    assert await holds.remove("a", "bert", LATER, note="done") == hold("a")
    assert await holds.remove("a", "bert", LATER) is None
    assert list(await holds.all()) == [hold("b")]


async def test_the_audit_log_has_who_did_what_to_which_hold_and_why(holds: Holds) -> None:
    await holds.add(hold("a", reason="bad labels"), 7)
    await holds.remove("a", "bert", LATER, note="they are right now")
    await holds.add(hold("b", 2, action=Action.END), 0)
    await holds.remove("b", "penstock", LATER, verb=EXPIRE)
    entries = await holds.audit(before=None, limit=10)
    assert [(each.verb, each.by, each.note, each.matched, each.hold.id) for each in entries] == [
        (EXPIRE, "penstock", "", 0, "b"),
        ("end", "anna", "", 0, "b"),
        (RELEASE, "bert", "they are right now", 0, "a"),
        ("hold", "anna", "bad labels", 7, "a"),
    ]
    assert (entries[2].at, entries[3].at) == (LATER, NOW)
    assert [each.id for each in await holds.audit(before=entries[1].id, limit=1)] == [entries[2].id]
    assert list(await holds.audit(before=2**70, limit=1)) == [entries[0]]


async def test_what_stands_is_told_by_one_at_a_time(holds: Holds) -> None:
    await holds.add(hold("a"), 0)
    async with holds.telling("a") as told:
        assert told == hold("a")
        assert await holds.remove("a", "bert", LATER) is not None
        other = asyncio.create_task(_told(holds, "a"))
        await asyncio.sleep(0)
        assert not other.done()
    assert await soon(other) is None


async def _told(holds: Holds, hold_id: str) -> Hold | None:
    async with holds.telling(hold_id) as told:
        return told


async def test_there_is_a_most_of_holds(holds: Holds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.holds.MOST_HOLDS", 2)
    for number in range(2):
        await holds.add(hold(str(number)), 0)
    with pytest.raises(Conflict, match="2 holds already"):
        await holds.add(hold("3"), 0)
    assert len(await holds.all()) == 2
    assert len(await holds.audit(before=None, limit=10)) == 2


async def waiting(stores: Stores) -> dict[str, Job]:
    """Jobs of each kind by their names."""
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "tenant": {"tenant": "acme"},
        "model": {"model": "other"},
        "version": {"version": "1"},
        "lane": {"lane": LaneClass.BULK},
        "later": {"created_at": LATER, "expires_at": NOW + timedelta(hours=1)},
        "direct": {"id": "event-7"},
    }
    jobs = {name: await stores.inserted(**fields) for name, fields in kinds.items()}
    running, done = await stores.inserted(), await stores.inserted()
    await stores.endings.mark_running([key_of(running)], NOW)
    await stores.endings.finish([ended(done)])
    return jobs | {"running": running, "done": done}


@pytest.mark.parametrize(
    ("meant", "found"),
    [
        (Meant(model="digits"), 6),
        (Meant(model="digits", version="1"), 1),
        (Meant(tenant="acme"), 1),
        (Meant(tenant="acme", model="other"), 0),
        (Meant(lane=LaneClass.BULK), 1),
        (Meant(tenant="default", lane=LaneClass.LIVE), 5),
    ],
)
async def test_jobs_that_are_queued_and_meant_are_counted(
    holds: Holds, stores: Stores, meant: Meant, found: int
) -> None:
    await waiting(stores)
    assert await holds.count(meant) == found


async def test_only_those_from_before_are_counted_where_that_is_asked(holds: Holds, stores: Stores) -> None:
    await waiting(stores)
    assert await holds.count(Meant(model="digits"), until=NOW) == 5


async def test_what_waited_when_the_hold_was_set_ends_and_nothing_else(holds: Holds, stores: Stores) -> None:
    jobs = await waiting(stores)
    end = hold(action=Action.END, reason="not needed")
    done = await holds.end(end, LATER, after=None, limit=100)
    meant = ("plain", "tenant", "version", "lane", "direct")
    assert sorted(done.keys) == sorted(key_of(jobs[name]) for name in meant)
    assert done.next is None
    for name in meant:
        job = await stores.found(jobs[name])
        assert (job.status, job.completed_at) == (Status.CANCELED, LATER)
        assert job.error is not None
        assert (job.error.code, "not needed" in job.error.message) == ("canceled", True)
    assert (await stores.found(jobs["running"])).status is Status.RUNNING
    assert (await stores.found(jobs["done"])).status is Status.SUCCEEDED
    assert {(await stores.found(jobs[name])).status for name in ("model", "later")} == {Status.QUEUED}
    assert await holds.end(end, LATER, after=None, limit=100) == Ended([], None)


async def test_many_end_step_by_step_each_once(holds: Holds, stores: Stores) -> None:
    jobs = [await stores.inserted() for _ in range(7)]
    end = hold(action=Action.END)
    keys, after, steps = list[Any](), None, 0
    while True:
        done = await holds.end(end, LATER, after=after, limit=3)
        keys += done.keys
        steps += 1
        if done.next is None:
            break
        after = done.next
        assert isinstance(after, Place)
    assert (sorted(keys), steps) == (sorted(map(key_of, jobs)), 3)


async def test_a_job_that_was_ended_keeps_that_end(holds: Holds, stores: Stores) -> None:
    job = await stores.inserted()
    await holds.end(hold(action=Action.END), LATER, after=None, limit=100)
    assert list(await stores.endings.finish([ended(job)])) == []
    assert (await stores.found(job)).status is Status.CANCELED
