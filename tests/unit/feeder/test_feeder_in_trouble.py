"""A feeder whose surroundings fail, or whose place another has taken."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from producers.window import FIRST_ROWS
from schemas.batches import BLOCK_ROWS, Batch, BatchStatus, Counts
from schemas.errors import QueueUnavailable, StoreUnavailable
from schemas.oip import parse_request
from schemas.records import read_lane_record
from schemas.versions import CatalogSnapshot
from stores.batches import Lead, LeadLost
from stores.blobs import Written
from tests.unit.feeder.house import House, answers, line
from tests.unit.inference.jobs import SIGNATURE
from workers.feeder import input_lines
from workers.feeder.looking import Looking


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


async def test_batches_of_a_tenant_share_one_window() -> None:
    house = House()
    for _ in range(12):
        await house.batch(line(number) for number in range(1500))
    small = await house.batch([line(0)], tenant="small")
    for _ in range(8):
        await house.step()
    jobs = [read_lane_record(tuple(record.headers), record.value) for record in house.lane]
    rows = sum(parse_request(SIGNATURE, job.payload).rows for job in jobs if job.tenant == "default")
    assert FIRST_ROWS - BLOCK_ROWS < rows <= FIRST_ROWS
    assert (await house.until_ended(small, rounds=3)).counts.completed == 1


async def test_a_version_that_is_gone_keeps_no_batch_from_its_end() -> None:
    house = House()
    cancelled, expired = [await house.batch(line(number) for number in range(10_000)) for _ in range(2)]
    for _ in range(3):
        await house.step()
    await house.work_off()
    house.catalog.snapshot = CatalogSnapshot()
    house.feeder = house.new_feeder()
    await house.batches.cancel("default", cancelled, house.now)
    batch = await house.until_ended(cancelled)
    assert batch.status is BatchStatus.CANCELLED
    assert len(answers((await house.outputs(batch))[0])) == batch.counts.completed > 0
    house.now += timedelta(days=2)
    batch = await house.until_ended(expired)
    assert batch.status is BatchStatus.EXPIRED
    assert batch.counts.processing == 0


@pytest.mark.parametrize("cancels", [True, False])
async def test_an_input_that_is_gone_keeps_no_batch_from_its_end(cancels: bool) -> None:
    house = House()
    batch_id = await house.batch(line(number) for number in range(10_000))
    await house.step()
    await house.step()
    await house.work_off()
    await house.blobs.delete([key for key in house.blobs.blobs if key.startswith("files/")])
    house.feeder = house.new_feeder()
    await house.step()
    if cancels:
        await house.batches.cancel("default", batch_id, house.now)
    else:
        house.now += timedelta(days=2)
    house.clock_s += 10
    batch = await house.until_ended(batch_id)
    assert batch.status is (BatchStatus.CANCELLED if cancels else BatchStatus.EXPIRED)
    assert (batch.counts.completed, batch.counts.processing) == (FIRST_ROWS, 0)


class Broken:
    """Blobs of which one cannot be read, by a fault that nobody foresaw."""

    def __init__(self, inner: Any, key: str) -> None:
        self._inner = inner
        self._key = key

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, key: str, *arguments: Any) -> Any:
        if key == self._key:
            raise ZeroDivisionError
        return self._inner.read(key, *arguments)


async def test_a_fault_that_one_batch_brings_out_stops_no_other() -> None:
    house = House()
    broken, good = await house.batch([line(0)]), await house.batch([line(1)], tenant="other")
    key = f"files/default/{house.state.open[broken].batch.input_file_id}"
    house.feeder = house.new_feeder(blobs=Broken(house.blobs, key))
    assert (await house.until_ended(good)).counts.completed == 1
    house.feeder = house.new_feeder()
    assert (await house.until_ended(broken)).counts.completed == 1


async def test_a_line_that_no_record_holds_fails_alone() -> None:
    house = House()
    body = {
        "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}],
        "parameters": {"a": "x" * 10**6},
    }
    batch = await house.until_ended(await house.batch([line(0), line(1, body=body)]))
    assert batch.counts == Counts(total=2, completed=1, failed=1)
    assert max(len(record.value or b"") for record in house.lane) < 1_000_000


async def test_no_tenant_keeps_others_from_having_their_inputs_looked_through() -> None:
    house, begun, go = House(), list[str](), asyncio.Event()

    async def look(_: Lead, batch: Batch) -> None:
        begun.append(batch.tenant)
        await go.wait()

    for _ in range(9):
        await house.batch([line(0)], tenant="many")
    await house.batch([line(0)], tenant="one")
    looking = Looking(look)
    waiting = [known.batch for known in house.state.open.values()]
    looking.begin(house.lead, waiting)
    await asyncio.sleep(0)
    assert sorted(begun) == ["many", "one"]
    go.set()
    await looking.settled()
    looking.begin(house.lead, [batch for batch in waiting if batch.tenant == "many"])
    await looking.settled()
    assert begun[2:] == ["many"]


async def test_no_more_is_unpacked_at_a_time_than_memory_is_there_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_lines, "MOST_TENSOR_BYTES", 4000)
    house = House()
    batch_id = await house.batch(line(number, *[1.0] * 100) for number in range(15))
    await house.step()
    await house.step()
    assert sum(job.rows for job in house.state.jobs) == 1000
    assert (await house.until_ended(batch_id)).counts.completed == 15


async def test_files_whose_blobs_could_not_be_removed_are_removed_another_time() -> None:
    class Away:
        """Removes nothing, the first time."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def delete(self, keys: Sequence[str]) -> None:
            self.asked += 1
            if self.asked == 1:
                raise StoreUnavailable("away")
            await self._inner.delete(keys)

    house = House()
    await house.until_ended(await house.batch([line(0)], output_expires_after_s=3600))
    blobs = Away(house.blobs)
    house.feeder = house.new_feeder(blobs=blobs)
    house.now += timedelta(hours=1)
    house.clock_s += 1000
    with pytest.raises(StoreUnavailable):
        await house.step()
    house.clock_s += 1000
    await house.step()
    assert blobs.asked == 2
    assert [key for key in house.blobs.blobs if key.startswith("batches/")] == []
    assert await house.files.expired(house.now, limit=10) == []
