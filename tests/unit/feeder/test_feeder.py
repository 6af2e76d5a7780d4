"""Batches from their files to their outputs, and through whatever happens in between."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.window import FIRST_ROWS
from schemas.batches import BatchStatus, Counts
from schemas.errors import DeadlineExceeded, ModelCrashed, QueueUnavailable
from schemas.jobs import failed_end
from schemas.records import read_lane_record
from schemas.tensors import Array
from stores.batches import LeadLost
from tests.examples import examples
from tests.unit.feeder.house import NOON, House, Killed, answers, keys_of, line
from tests.unit.feeder.killing import Cut, Killer
from tests.unit.inference.models import Adder


async def test_each_line_has_its_own_answer_whatever_rows_it_has() -> None:
    house = House()
    rows = {number: [float(number + place) for place in range(1 + number % 3)] for number in range(2500)}
    batch = await house.until_ended(await house.batch(line(number, *values) for number, values in rows.items()))
    assert (batch.status, batch.counts) == (BatchStatus.COMPLETED, Counts(total=2500, completed=2500))
    outputs, errors = await house.outputs(batch)
    assert errors == []
    assert answers(outputs) == {f"line-{number}": [2 * value for value in values] for number, values in rows.items()}
    assert (batch.output_file_id is None, batch.error_file_id is None) == (False, True)


async def test_a_block_holds_a_thousand_rows_and_no_line_twice() -> None:
    house = House()
    await house.until_ended(await house.batch(line(number) for number in range(2500)))
    jobs = [read_lane_record(tuple(record.headers), record.value) for record in house.lane]
    assert len(jobs) == len({job.id for job in jobs}) == 3
    assert all(job.row_errors and job.expires_at == NOON + timedelta(days=1) for job in jobs)


async def test_a_line_that_does_not_fit_fails_alone_before_it_is_sent() -> None:
    house = House()
    bad = line(1, body={"instances": [{"x": [1, 2]}]})
    batch = await house.until_ended(await house.batch([line(0), bad, line(2)]))
    assert batch.counts == Counts(total=3, completed=2, failed=1)
    outputs, errors = await house.outputs(batch)
    assert keys_of(outputs) == ["line-0", "line-2"]
    assert errors[0]["response"]["body"]["error"]["code"] == "invalid_input"


async def test_a_bad_row_fails_its_own_line_alone() -> None:
    house = House(Adder(poison=frozenset([7.0, 1500.0])))
    batch = await house.until_ended(await house.batch(line(number) for number in range(2000)))
    assert batch.counts == Counts(total=2000, completed=1998, failed=2)
    _, errors = await house.outputs(batch)
    assert sorted(keys_of(errors)) == ["line-1500", "line-7"]
    assert {each["response"]["status_code"] for each in errors} == {500}


async def test_what_json_cannot_say_fails_its_own_line() -> None:
    class Infinite(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            outputs = super().run(inputs, parameters)
            outputs["double"][inputs["x"] == 1] = np.inf
            return outputs

    house = House(Infinite())
    batch = await house.until_ended(await house.batch([line(0), line(1), line(2)]))
    _, errors = await house.outputs(batch)
    assert keys_of(errors) == ["line-1"]
    assert errors[0]["response"]["body"]["error"]["code"] == "output_invalid"


async def test_a_row_that_ends_its_process_is_found_by_halves() -> None:
    class Crashing(House):
        """A block with the poison ends as one that has ended its worker three times."""

        def _ran(self, out: Any) -> Any:
            end = super()._ran(out)
            if end is not None and b"\x00\x00\xe0\x40" in out.value:  # 7.0, as FP32
                error = ModelCrashed("it ended the process").body()
                return type(end)(
                    **{name: getattr(end, name) for name in end.__struct_fields__}
                    | {"status": "failed", "result": None, "error": error}
                )
            return end

    house = Crashing()
    batch = await house.until_ended(await house.batch(line(number) for number in range(100)))
    outputs, errors = await house.outputs(batch)
    assert keys_of(errors) == ["line-7"]
    assert len(outputs) == 99
    assert len(house.lane) <= 1 + 2 * 7


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([], ["empty_file"]),
        (["", " "], ["empty_file"]),
        ([line(0), "{"], ["invalid_json_line"]),
        ([line(0, custom_id="")], ["invalid_custom_id"]),
        ([line(0, custom_id="x" * 513)], ["invalid_custom_id"]),
        ([line(0, method="GET")], ["invalid_method"]),
        ([line(0, url="/v1/models/other/jobs")], ["invalid_url"]),
        ([line(0, color="blue")], ["invalid_json_line"]),
        ([line(0), line(1), line(0), line(0)], ["duplicate_custom_id", "duplicate_custom_id"]),
        ([line(0), line(0), "{"], ["invalid_json_line", "duplicate_custom_id"]),
        (['{"custom_id":"a","method":"POST","url":"x","body":' + "[" * 5000], ["invalid_json_line"]),
    ],
)
async def test_an_input_that_breaks_a_rule_fails_whole_and_nothing_of_it_runs(
    lines: Sequence[str], codes: Sequence[str]
) -> None:
    house = House()
    batch = await house.until_ended(await house.batch(lines))
    assert batch.status is BatchStatus.FAILED
    assert [each.code for each in batch.errors] == list(codes)
    assert house.lane == []


async def test_a_batch_that_is_cancelled_ends_once_what_was_sent_has() -> None:
    house = House()
    batch_id = await house.batch(line(number) for number in range(10_000))
    await house.step()
    await house.step()
    await house.work_off(1)
    await house.step()
    await house.batches.cancel("default", batch_id, house.now)
    batch = await house.until_ended(batch_id)
    assert batch.status is BatchStatus.CANCELLED
    outputs, errors = await house.outputs(batch)
    assert {*keys_of(outputs), *keys_of(errors)} == {f"line-{number}" for number in range(10_000)}
    assert len(outputs) + len(errors) == 10_000
    assert batch.counts == Counts(total=10_000, completed=1000, cancelled=9000)
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}


async def test_a_batch_that_is_cancelled_before_it_began_has_no_lines() -> None:
    house = House()
    batch_id = await house.batch([line(0)])
    await house.batches.cancel("default", batch_id, house.now)
    assert (await house.until_ended(batch_id)).counts == Counts()


async def test_what_has_no_end_by_the_deadline_expires_and_what_has_one_stays() -> None:
    house = House()
    batch_id = await house.batch(line(number) for number in range(5000))
    await house.step()
    await house.step()
    await house.work_off(1)
    await house.step()
    house.now = NOON + timedelta(days=1)
    overdue = await house.jobs.overdue(house.now, 100)
    await house.jobs.finish([failed_end(job, DeadlineExceeded("late"), house.now) for job in overdue])
    house.clock_s += 10
    batch = await house.until_ended(batch_id)
    assert (batch.status, batch.counts) == (BatchStatus.EXPIRED, Counts(total=5000, completed=1000, expired=4000))
    _, errors = await house.outputs(batch)
    assert {each["error"]["code"] for each in errors} == {"batch_expired"}


async def test_no_more_is_in_the_lane_than_the_window_holds() -> None:
    house = House(window_s=10.0)
    await house.batch(line(number) for number in range(20_000))
    for _ in range(5):
        await house.step()
    assert sum(job.rows for job in house.state.jobs) == FIRST_ROWS, "until it has shown its rate: two blocks"
    for _ in range(3):
        house.clock_s += 1.0
        await house.work_off()
        await house.step()
        await house.step()
        in_lane = sum(block.rows for known in house.state.open.values() for block in known.blocks)
        assert in_lane <= 10 * 2100


async def test_a_small_batch_waits_for_no_more_than_the_window_of_a_large_one() -> None:
    house = House()
    await house.batch((line(number) for number in range(20_000)), tenant="large")
    for _ in range(3):
        await house.step()
    before = len(house.lane)
    small = await house.batch((line(number) for number in range(100)), tenant="small")
    await house.step()
    await house.step()
    jobs = [read_lane_record(tuple(record.headers), record.value) for record in house.lane]
    ahead = [job for job in jobs if job.tenant == "large"]
    assert before == len(ahead) == 2
    assert [job.tenant for job in jobs if job.tenant == "small"] == ["small"]
    batch = await house.until_ended(small, rounds=3)
    assert batch.counts.completed == 100


async def test_nothing_is_sent_before_its_time() -> None:
    house = House()
    batch_id = await house.batch([line(0)], not_before=NOON + timedelta(hours=1))
    for _ in range(3):
        await house.step()
    assert house.lane == []
    house.now = NOON + timedelta(hours=1)
    assert (await house.until_ended(batch_id)).counts.completed == 1


async def test_a_batch_waits_for_a_version_that_nobody_has_announced() -> None:
    house = House()
    batch_id = await house.batch([line(0)], model="adder", version="9")
    for _ in range(3):
        await house.step()
    assert house.lane == []
    assert house.state.open[batch_id].batch.status is BatchStatus.IN_PROGRESS


async def test_what_kafka_did_not_take_is_sent_again_under_the_same_id() -> None:
    house = House()
    batch_id = await house.batch(line(number) for number in range(10))
    await house.step()
    house.log.fail_next = [QueueUnavailable("away")]
    await house.step()
    assert house.lane == []
    batch = await house.until_ended(batch_id)
    assert batch.counts == Counts(total=10, completed=10)
    (record,) = house.lane
    assert read_lane_record(tuple(record.headers), record.value).id == house.state.jobs[0].id


async def test_a_result_that_was_kept_no_longer_fails_its_lines() -> None:
    house = House()
    batch_id = await house.batch(line(number) for number in range(10))
    await house.step()
    await house.step()
    house.jobs._jobs.clear()
    house.clock_s += 10
    batch = await house.until_ended(batch_id)
    assert batch.counts == Counts(total=10, failed=10)


@examples(40)
@given(st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=6), st.booleans())
async def test_each_line_has_one_end_wherever_feeders_are_killed(kills: list[tuple[int, bool]], cancels: bool) -> None:
    house = House(Adder(poison=frozenset([3.0])))
    batch_id = await house.batch(line(number) for number in range(2200))
    for number, (at, after) in enumerate(kills):
        killer = Killer(at, after=after)
        house.feeder = house.new_feeder(Cut(house.work, killer), Cut(house.blobs, killer), Cut(house.log, killer))
        with suppress(Killed):
            for _ in range(10):
                await house.step()
                await house.work_off(2)
        if cancels and number == 1:
            await house.batches.cancel("default", batch_id, house.now)
    house.feeder = house.new_feeder()
    house.clock_s += 100
    batch = await house.until_ended(batch_id)
    outputs, errors = await house.outputs(batch)
    found = [*keys_of(outputs), *keys_of(errors)]
    if batch.counts.total:
        assert sorted(found) == sorted(f"line-{number}" for number in range(2200))
    counts = batch.counts
    assert counts.total == counts.completed + counts.failed + counts.cancelled
    assert (counts.completed, counts.failed + counts.cancelled) == (len(outputs), len(errors))
    assert all(doubles == [2 * float(name.removeprefix("line-"))] for name, doubles in answers(outputs).items())


async def test_who_lost_the_lease_stops_and_changes_nothing_more() -> None:
    house = House()
    batch_id = await house.batch([line(0)])
    await house.step()
    await house.work.leave(house.lead)
    assert await house.work.lead("two")
    with pytest.raises(LeadLost):
        await house.feeder.feed(house.lead, asyncio.Event())
    assert house.state.open[batch_id].blocks in ((), [])


async def test_files_whose_time_is_over_go_with_their_blobs() -> None:
    house = House()
    batch = await house.until_ended(await house.batch([line(0)], output_expires_after_s=3600))
    assert len(house.blobs.blobs) == 2
    house.now, house.clock_s = NOON + timedelta(hours=1), 1000.0
    await house.step()
    assert [key for key in house.blobs.blobs if key.startswith("batches/")] == []
    assert await house.files.get("default", batch.output_file_id or "", house.now) is None
    house.now, house.clock_s = NOON + timedelta(days=40), 2000.0
    await house.step()
    assert house.state.batch(batch.id) is None
