"""Promised batches: they go first where they must, and tell the ledger how far they are."""

from datetime import timedelta
from typing import Any, Final

import pytest

from producers.window import FIRST_ROWS
from schemas.batches import BatchStatus
from schemas.promises import BEHIND, Promise, promise_of
from stores.promises import Seen, VersionKey
from tests.unit.feeder.house import ENTRY, NOON, House, line
from workers.feeder.promising import WRITTEN_WITHIN

VERSION: Final = VersionKey(ENTRY.model, ENTRY.version)
LINES: Final = 10_000


class Steady(House):
    """A version that does a thousand rows a second."""

    async def second(self) -> None:
        self.clock_s += 1.0
        self.now += timedelta(seconds=1)
        await self.step()
        await self.work_off(1)

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            await self.second()

    async def promised(self, rows: int, within_s: float, **more: Any) -> str:
        """A batch that has its promise, as a gateway makes it."""
        deadline = self.now + timedelta(seconds=within_s)
        pinned: dict[str, Any] = {"model": ENTRY.model, "version": ENTRY.version, "revision": None}
        batch_id = await self.batch((line(number) for number in range(rows)), deadline=deadline, **pinned, **more)
        await self.promises.ask(promise_of(await self.batch_now(batch_id), rows), None, self.now)
        return batch_id

    async def standing(self) -> list[Promise]:
        return list(await self.promises.all_standing())


@pytest.fixture
def house() -> Steady:
    return Steady()


async def test_what_is_urgent_goes_before_all_that_is_not(house: Steady) -> None:
    await house.promises.learn({VERSION: Seen(100_000.0, 100.0)})
    await house.batch((line(number) for number in range(LINES)), tenant="other")
    await house.seconds(6)
    sent_before = len(house.jobs_sent)
    batch_id = await house.promised(4000, 5.0 + BEHIND.total_seconds())
    await house.seconds(9)
    sent = [job.tenant for job in house.jobs_sent[sent_before:]]
    first = sent.index("default")
    assert sent[first : first + 4] == ["default"] * 4
    assert (await house.batch_now(batch_id)).due < (await house.batch_now(batch_id)).expires_at


async def test_what_has_time_takes_turns_with_others(house: Steady) -> None:
    await house.promises.learn({VERSION: Seen(100_000.0, 100.0)})
    await house.batch((line(number) for number in range(LINES)), tenant="other")
    await house.promised(LINES, 3600.0)
    await house.seconds(12)
    sent = [job.tenant for job in house.jobs_sent]
    assert min(sent.count("default"), sent.count("other")) >= 4


async def test_how_far_it_is_and_that_it_has_ended_are_told(house: Steady) -> None:
    batch_id = await house.promised(LINES, 3600.0)
    await house.seconds(9)
    (promise,) = await house.standing()
    done = (await house.batch_now(batch_id)).counts.completed
    assert 0 < promise.ended <= done < LINES
    batch = await house.until_ended(batch_id)
    assert batch.status is BatchStatus.COMPLETED
    await house.seconds(6)
    assert await house.standing() == []


async def test_a_cancelled_batch_frees_what_it_was_promised(house: Steady) -> None:
    batch_id = await house.promised(5000, 3600.0)
    await house.seconds(3)
    await house.batches.cancel("default", batch_id, house.now)
    await house.until_ended(batch_id)
    await house.seconds(6)
    assert await house.standing() == []


async def test_a_promise_without_a_batch_is_taken_off_in_the_end(house: Steady) -> None:
    batch_id = await house.promised(1, 3600.0)
    lost = promise_of(await house.batch_now(batch_id), 1)
    del house.state.open[batch_id]
    await house.seconds(6)
    assert await house.standing() == [lost]
    house.now += WRITTEN_WITHIN
    await house.seconds(6)
    assert await house.standing() == []


async def test_the_rate_is_learned_while_more_waits_than_may_be_in_the_lane(house: Steady) -> None:
    await house.until_ended(await house.batch(line(number) for number in range(FIRST_ROWS)))
    await house.seconds(6)
    assert (await house.promises.learned([VERSION])).get(VERSION, Seen(0, 0)).rows_per_s is None
    await house.batch(line(number) for number in range(60_000))
    await house.seconds(45)
    seen = (await house.promises.learned([VERSION]))[VERSION]
    assert seen.rows_per_s is not None
    assert 900 < seen.rows_per_s < 1100


async def test_what_was_learned_is_known_to_the_next_feeder(house: Steady) -> None:
    await house.promises.learn({VERSION: Seen(7_000.0, 100.0)})
    await house.batch([line(0)])
    house.feeder = house.new_feeder()
    await house.seconds(12)
    seen = (await house.promises.learned([VERSION]))[VERSION]
    assert seen == pytest.approx(Seen(7_000.0, 100.0), rel=0.01)


async def test_nothing_is_sent_outside_of_the_daily_hours(house: Steady) -> None:
    batch_id = await house.batch([line(0)], daily="13:00-14:00")
    await house.seconds(4)
    assert house.jobs_sent == []
    house.now = NOON + timedelta(minutes=60)
    assert (await house.until_ended(batch_id)).status is BatchStatus.COMPLETED
