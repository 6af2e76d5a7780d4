"""A feeder whose surroundings fail, or whose place another has taken."""

import asyncio
from typing import Any

import pytest

from schemas.batches import BatchStatus, Counts
from schemas.errors import QueueUnavailable
from stores.batches import Lead, LeadLost
from stores.blobs import Written
from tests.unit.feeder.house import House, answers, line


class Held:
    """Blobs whose writing stands still until it is let go."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, pieces: Any) -> Written:
        self.reached.set()
        await self.go.wait()
        written: Written = await self._inner.put(key, pieces)
        return written


async def test_who_stood_still_writes_over_nothing_that_the_next_one_wrote() -> None:
    house = House()
    batch_id = await house.batch(line(number) for number in range(2000))
    await house.step()
    await house.step()
    await house.work_off(1)
    held = Held(house.blobs)
    stopped = house.new_feeder(blobs=held)
    standing = asyncio.ensure_future(stopped.step(house.lead))
    await held.reached.wait()
    await house.work.leave(house.lead)
    house.lead = Lead("two")
    house.feeder = house.new_feeder()
    await house.work_off()
    batch = await house.until_ended(batch_id)
    held.go.set()
    with pytest.raises(LeadLost):
        await standing
    outputs, _ = await house.outputs(batch)
    assert len(answers(outputs)) == 2000


async def test_what_was_written_and_not_listed_goes_with_the_end() -> None:
    house = House()
    batch_id = await house.batch([line(0)])
    await house.step()
    await house.step()
    await house.blobs.put(f"batches/default/{batch_id}/output-000000-aa.jsonl", b"never listed")
    batch = await house.until_ended(batch_id)
    outputs, _ = await house.outputs(batch)
    assert len(outputs) == 1
    assert len([key for key in house.blobs.blobs if key.startswith("batches/")]) == 1


async def test_a_first_line_with_a_mark_is_sent_again_as_it_was() -> None:
    house = House()
    batch_id = await house.batch(["\ufeff" + line(0), line(1)])
    await house.step()
    house.log.fail_next = [QueueUnavailable("away")]
    await house.step()
    batch = await house.until_ended(batch_id)
    assert batch.counts == Counts(total=2, completed=2)


async def test_blank_lines_count_among_those_that_a_batch_may_have() -> None:
    house = House()
    batch = await house.until_ended(await house.batch([line(0), *[""] * 100_000]))
    assert batch.status is BatchStatus.FAILED
    assert [each.code for each in batch.errors] == ["too_many_lines"]
