"""What jobs take of memory, and how that stops fetching."""

from dataclasses import replace

import numpy as np
import pytest

from runtime.budget import HELD_BYTES, MemoryBudget
from schemas.topics import LaneClass
from tests.unit.inference.jobs import item, request_of
from workers.consuming.group_client import ConsumingLimits
from workers.consuming.prefetch import LEAST_FETCH_BYTES, PrefetchShares
from workers.inference.batching.padding import PaddedInput, Padding
from workers.inference.batching.ragged_rows import RaggedRows
from workers.inference.decoding.memory import FETCH_RECORDS, USUAL_RECORD_BYTES, FetchBrake, memory_bytes

MIB = 2**20


def brake(budget: MemoryBudget, lane_class: LaneClass = LaneClass.LIVE) -> FetchBrake:
    return FetchBrake(budget, lane_class)


def test_a_job_takes_its_record_what_it_decodes_to_and_that_once_stacked() -> None:
    assert memory_bytes(b"12345", {"x": np.zeros((2, 3), np.float32)}) == 5 + 24 + 24


def test_texts_take_more_than_their_letters() -> None:
    texts = np.array([b"a" * 100] * 10, dtype=object)
    assert memory_bytes(b"", {"x": texts}) >= 10 * (100 + 33 + 8)


def test_ragged_rows_take_what_they_are_and_once_stacked_what_they_are_padded_to() -> None:
    lengths = np.array([1] * 999 + [512])
    rows = RaggedRows(np.zeros(lengths.sum(), np.int32), lengths)
    assert memory_bytes(b"", {"ids": rows}) == rows.held_bytes + 1000 * 512 * 8
    assert rows.held_bytes < 16 * 1024


def test_a_job_takes_the_padding_that_it_has_even_alone() -> None:
    padding = Padding({"x": PaddedInput((1, 2))}, lengths=(16, 512))
    # A few bytes from a client, for so much is allocated when it runs
    nothing = np.zeros((1, 0, 2**30), np.float32)
    assert memory_bytes(b"", {"x": nothing}, padding) == 16 * 2**30 * 4
    some = np.zeros((2, 17, 600), np.float32)
    assert memory_bytes(b"", {"x": some}, padding) == some.nbytes + 2 * 512 * 600 * 4


def test_rows_that_are_cut_out_are_those_rows_and_keep_nothing_else_alive() -> None:
    rows = RaggedRows(np.arange(6), np.array([1, 2, 0, 3]))
    middle = rows[1:3]
    assert (middle.values.tolist(), middle.lengths.tolist(), middle.shape) == ([1, 2], [2, 0], (2, 2))
    assert middle.values.base is None


def test_a_lane_asks_for_as_many_records_as_have_room_in_rows() -> None:
    lane = brake(MemoryBudget(1024 * MIB))
    assert lane.records(0) == 0
    assert lane.records(7) == 7
    assert lane.records(10_000) == FETCH_RECORDS
    lane.fetched([item(*range(4)), item(*range(6))])
    assert lane.records(11) == 3  # of five rows each


def test_a_lane_asks_for_as_many_records_as_have_room_in_bytes() -> None:
    lane = brake(MemoryBudget(MIB))
    assert lane.records(1000) == MIB // USUAL_RECORD_BYTES
    lane.fetched([replace(item(1.0), held_bytes=300 * 1024)])
    assert lane.records(1000) == 4


def test_nothing_more_is_fetched_when_the_process_holds_as_much_as_it_may() -> None:
    budget = MemoryBudget(MIB)
    one, other = brake(budget), brake(budget)
    other.holds(10)
    one.holds(MIB)
    assert (one.records(8), other.records(8)) == (0, 0)
    one.holds(0)
    assert other.records(8) == 8


def test_a_lane_that_holds_nothing_fetches_one_record_all_the_same() -> None:
    budget = MemoryBudget(MIB)
    brake(budget).holds(2 * MIB)
    assert brake(budget).records(8) == 1
    assert brake(budget, LaneClass.BULK).records(8) == 1


def test_bulk_leaves_half_of_the_memory_to_what_is_live() -> None:
    budget = MemoryBudget(64 * MIB)
    live, bulk = brake(budget), brake(budget, LaneClass.BULK)
    bulk.holds(32 * MIB)
    assert bulk.records(8) == 0
    assert live.records(8) == 8


def test_what_is_held_is_shown_and_shrinks() -> None:
    budget = MemoryBudget(MIB)
    lane = brake(budget)
    lane.holds(700)
    assert budget.held_bytes == 700
    assert [
        sample.value
        for metric in HELD_BYTES.collect()
        for sample in metric.samples
        if sample.labels["use"] == "records"
    ]
    lane.holds(200)
    assert budget.held_bytes == 200


@pytest.mark.parametrize("budget_bytes", [16 * MIB, 512 * MIB, 4096 * MIB])
def test_consumers_fetch_ahead_a_quarter_of_the_budget_all_together(budget_bytes: int) -> None:
    budget = MemoryBudget(budget_bytes)
    shares = PrefetchShares(budget)
    contexts = [shares.limits(12) for _ in range(40)]
    limits = [context.__enter__() for context in contexts]
    assert budget.held_bytes <= budget_bytes // 4 + 40 * 12 * LEAST_FETCH_BYTES
    assert all(
        LEAST_FETCH_BYTES <= each.partition_fetch_bytes <= ConsumingLimits().partition_fetch_bytes for each in limits
    )
    for context in contexts:
        context.__exit__(None, None, None)
    assert budget.held_bytes == 0
    with shares.limits(12) as again:
        assert again == limits[0]


def test_a_record_is_counted_with_the_view_that_its_tensors_are() -> None:
    job = item(payload=request_of({"x": np.zeros((8, 1), np.float32)}))
    assert memory_bytes(job.record.value or b"", job.request.inputs) == len(job.record.value or b"") + 64
