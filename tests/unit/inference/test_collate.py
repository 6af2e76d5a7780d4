"""Rows of many jobs stacked for one run, and each job's own rows again."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.unit.inference.jobs import SIGNATURE, item, items, request_of
from workers.inference.collate import same_shape, split, stack
from workers.inference.item import Item

VARIABLE = Signature(
    inputs=(TensorSpec("left", "FP32", (-1, -1)), TensorSpec("right", "INT64", (-1, -1, 2))),
    outputs=(TensorSpec("out", "FP32", (-1,)),),
)


def variable_item(left: int, right: int, *, rows: int = 1, right_first: bool = False) -> Item:
    arrays: dict[str, Array] = {
        "left": np.zeros((rows, left), np.float32),
        "right": np.zeros((rows, right, 2), np.int64),
    }
    if right_first:
        arrays = dict(reversed(arrays.items()))
    return item(signature=VARIABLE, payload=request_of(arrays))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_what_is_stacked_and_split_is_what_it_was(rows: list[int]) -> None:
    jobs = items(rows)
    stacked = stack(SIGNATURE, jobs)
    assert stacked["x"].shape == (sum(rows), 1)
    for part, job in zip(split(stacked, jobs), jobs, strict=True):
        assert np.array_equal(part["x"], job.request.inputs["x"])


def test_stacking_copies_so_that_a_model_cannot_write_into_a_record() -> None:
    (job,) = items([2])
    stacked = stack(SIGNATURE, [job])
    assert stacked["x"].flags.writeable
    assert not np.shares_memory(stacked["x"], job.request.inputs["x"])


def test_jobs_of_a_fixed_shape_are_one_group() -> None:
    jobs = items([1, 2, 3])
    assert same_shape(SIGNATURE, jobs) == [jobs]


def test_jobs_that_differ_in_a_variable_dimension_are_run_apart() -> None:
    short, long, short_again = variable_item(2, 1), variable_item(5, 1), variable_item(2, 1, rows=3)
    assert same_shape(VARIABLE, [short, long, short_again]) == [[short, short_again], [long]]


def test_jobs_are_told_apart_by_name_in_whatever_order_they_list_their_inputs() -> None:
    # Given three jobs of which the last two list the same inputs the other way round
    first = variable_item(2, 5)
    same = variable_item(2, 5, right_first=True)
    other = variable_item(5, 2, right_first=True)

    groups = same_shape(VARIABLE, [first, same, other])

    assert groups == [[first, same], [other]]
    for group in groups:
        stack(VARIABLE, group)  # does not raise


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.booleans()), min_size=1))
def test_every_group_can_be_stacked_and_nobody_is_left_out(shapes: list[tuple[int, int, int, bool]]) -> None:
    jobs = [variable_item(left, right, rows=rows, right_first=turned) for left, right, rows, turned in shapes]
    groups = same_shape(VARIABLE, jobs)
    for group in groups:
        assert len(stack(VARIABLE, group)["left"]) == sum(job.rows for job in group)
    assert sorted(map(id, jobs)) == sorted(id(job) for group in groups for job in group)
