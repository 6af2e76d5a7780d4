"""How much is fed at a time, and what makes a feeder look."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from producers.window import FIRST_ROWS
from schemas.batches import Counts
from schemas.errors import QueueUnavailable
from schemas.jobs import new_job_id
from schemas.records import read_lane_record
from schemas.versions import CatalogSnapshot
from stores.protocols import JobKey
from tests.unit.feeder.house import ENTRY, House, line
from tests.waiting import eventually, soon
from workers.feeder.feed import COLLECTED_WITHIN_S


async def test_blocks_have_whole_micro_batches() -> None:
    house = House()
    house.catalog.snapshot = CatalogSnapshot().with_entry(msgspec.structs.replace(ENTRY, max_batch_size=64))
    batch_id = await house.batch(line(number) for number in range(3000))
    assert (await house.until_ended(batch_id)).counts.completed == 3000
    assert [job.rows for job in house.state.jobs] == [960, 960, 960, 120]


async def test_lines_of_many_rows_keep_to_the_window() -> None:
    house = House()
    batch_id = await house.batch(line(number, *[1.0] * 300) for number in range(40))
    for _ in range(3):
        await house.step()
    assert sum(job.rows for job in house.state.jobs) == FIRST_ROWS // 300 * 300
    assert (await house.until_ended(batch_id)).counts == Counts(total=40, completed=40)


async def test_a_line_of_more_rows_than_the_window_is_fed_alone() -> None:
    house = House()
    rows = FIRST_ROWS + 500
    batch_id = await house.batch(line(number, *[1.0] * rows) for number in range(3))
    for _ in range(3):
        await house.step()
    assert [job.rows for job in house.state.jobs] == [rows]
    assert (await house.until_ended(batch_id)).counts == Counts(total=3, completed=3)


async def test_a_quick_model_gets_a_larger_window_though_its_lane_is_empty_in_between() -> None:
    house = House()
    await house.batch(line(number) for number in range(40_000))
    await house.step()
    fed = []
    for _ in range(4):
        before = len(house.state.jobs)
        await house.step()
        fed.append(sum(job.rows for job in house.state.jobs[before:]))
        house.clock_s += 0.5
        await house.work_off()
    assert fed[0] == FIRST_ROWS
    assert min(fed[1:]) > FIRST_ROWS


async def test_tenants_are_fed_as_many_rows_however_many_batches_they_have() -> None:
    house = House()
    for _ in range(5):
        await house.batch((line(number) for number in range(4000)), tenant="many")
    await house.batch((line(number) for number in range(20_000)), tenant="one")
    rows = Counter[str]()
    for _ in range(12):
        await house.step()
        house.clock_s += 1.0
        await house.work_off()
    for job in house.state.jobs:
        rows[job.tenant] += job.rows
    assert abs(rows["many"] - rows["one"]) <= 4000
    assert min(rows.values()) > 2 * FIRST_ROWS


async def test_jobs_of_others_that_end_are_no_reason_to_look() -> None:
    house = House()
    await house.batch([line(0)])
    await house.step()
    await house.step()
    house.feeder._wake.clear()
    house.feeder.tell_done([JobKey("default", new_job_id()) for _ in range(1000)])
    assert not house.feeder._told
    assert not house.feeder._wake.is_set()
    house.feeder.tell_done([JobKey(job.tenant, job.id) for job in house.state.jobs])
    assert house.feeder._wake.is_set()


async def test_a_block_is_made_again_by_a_single_read() -> None:
    class Counting:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.reads = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def read(self, *arguments: Any) -> Any:
            self.reads += 1
            return self._inner.read(*arguments)

    house = House()
    batch_id = await house.batch(line(number) for number in range(1000))
    blobs = Counting(house.blobs)
    house.feeder = house.new_feeder(blobs=blobs)
    await house.step()
    house.log.fail_next = [QueueUnavailable("away")]
    await house.step()
    house.clock_s += 10
    blobs.reads = 0
    await house.step()
    assert len(house.lane) == 1
    assert blobs.reads == 2, "the block, and what comes behind it"
    assert (await house.until_ended(batch_id)).counts.completed == 1000


async def test_a_feeder_that_stops_ends_its_round_and_knows_nothing_more() -> None:
    house, stop = House(), asyncio.Event()
    await house.batch(line(number) for number in range(10))
    await house.step()
    assert await house.work.lead(house.lead.token)
    feeding = asyncio.ensure_future(house.feeder.feed(house.lead, stop))
    await eventually(lambda: house.lane)
    stop.set()
    await soon(feeding)
    assert not list(house.feeder._feeds)


@pytest.mark.parametrize(("told", "kept"), [(None, None), (60, COLLECTED_WITHIN_S), (10**6, 10**6)])
async def test_what_blocks_gave_is_kept_until_it_can_be_collected(told: int | None, kept: int | None) -> None:
    house = House()
    house.catalog.snapshot = CatalogSnapshot().with_entry(msgspec.structs.replace(ENTRY, retention_s=told))
    await house.batch([line(0)])
    await house.step()
    await house.step()
    (record,) = house.lane
    assert house.state.jobs[0].retention_s == kept
    assert read_lane_record(tuple(record.headers), record.value).retention_s == kept
