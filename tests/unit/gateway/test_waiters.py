import asyncio

from gateway.waiters import Waiters
from schemas.jobs import Job
from stores.memory import MemoryJobs
from stores.memory_signals import MemorySignals
from stores.protocols import JobKey
from tests.contracts.stores.building import queued
from tests.waiting import SOON_S, eventually, soon

KEY = JobKey("default", "job_1")
OTHER = JobKey("default", "job_2")


class Counting(MemoryJobs):
    """Counts how often a job is looked up."""

    reads = 0

    async def get(self, key: JobKey) -> Job | None:
        self.reads += 1
        return await super().get(key)


def never(_: Job | None) -> bool:
    return False


async def test_news_wake_only_those_who_wait_for_that_job() -> None:
    signals = MemorySignals()
    waiters = Waiters(MemoryJobs(), signals)
    following = asyncio.create_task(waiters.follow())
    await eventually(lambda: signals.connected)
    with waiters.watch(KEY) as one, waiters.watch(KEY) as two, waiters.watch(OTHER) as other:
        waits = [asyncio.create_task(watch.woken(60)) for watch in (one, two, other)]
        await signals.announce_done([KEY])
        await asyncio.wait(waits[:2], timeout=SOON_S)
        assert [wait.done() for wait in waits] == [True, True, False]
        waits[2].cancel()
    following.cancel()


async def test_news_that_come_between_two_looks_are_not_missed() -> None:
    waiters = Waiters(MemoryJobs(), MemorySignals())
    with waiters.watch(KEY) as watch:
        waiters.wake(KEY)
        await soon(watch.woken(60))


async def test_one_is_woken_at_a_time_in_the_order_in_which_they_came() -> None:
    waiters = Waiters(MemoryJobs(), MemorySignals())
    woken: list[str] = []

    async def wait(name: str) -> None:
        with waiters.watch(KEY) as watch:
            await watch.woken(60)
            woken.append(name)

    waits = [asyncio.create_task(wait(name)) for name in ("first", "second", "third", "fourth")]
    await eventually(lambda: len(waiters) == 4)
    waits[1].cancel()
    waiters.wake_one(KEY)
    waiters.wake_one(KEY)
    await eventually(lambda: len(woken) == 2)
    assert (woken, len(waiters)) == (["first", "third"], 1)
    waiters.wake(KEY)
    await soon(waits[3])
    waiters.wake_one(KEY)


async def test_one_wake_is_one_look() -> None:
    waiters = Waiters(MemoryJobs(), MemorySignals())
    with waiters.watch(KEY) as watch:
        waiters.wake(KEY)
        waiters.wake(KEY)
        await watch.woken(60)
        second = asyncio.create_task(watch.woken(60))
        await asyncio.wait([second], timeout=0.01)
        assert not second.done()
        second.cancel()


async def test_a_job_just_sent_is_not_looked_up_before_it_can_have_ended() -> None:
    jobs = Counting()
    waiters = Waiters(jobs, MemorySignals(), fast_s=60)
    with waiters.watch(KEY) as watch:
        wait = asyncio.create_task(waiters.until(KEY, watch, never, 60, asyncio.Event(), sent=queued()))
        await asyncio.wait([wait], timeout=0.01)
        assert jobs.reads == 0
        wait.cancel()


async def test_without_news_looks_are_frequent_and_with_news_rare() -> None:
    signals = MemorySignals()
    waiters = Waiters(MemoryJobs(), signals, slow_s=2, fast_s=0.25)
    assert waiters.interval_s == 0.25
    following = asyncio.create_task(waiters.follow())
    await eventually(lambda: waiters.interval_s == 2)
    signals.down = True
    assert waiters.interval_s == 0.25
    following.cancel()


async def test_nothing_is_kept_of_those_who_have_left() -> None:
    waiters = Waiters(MemoryJobs(), MemorySignals())
    with waiters.watch(KEY), waiters.watch(KEY), waiters.watch(OTHER):
        assert len(waiters) == 3
    assert len(waiters) == 0
    assert waiters._watches == {}
