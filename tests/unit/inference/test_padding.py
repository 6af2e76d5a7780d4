"""Rows of many jobs stacked for one run, and each job's own rows again: with and without padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import OutputInvalid
from schemas.signature import TensorSpec
from schemas.tensors import Array
from workers.inference.batching.padding import FollowingOutput, PaddedInput, Padding, pad_rows, round_up
from workers.inference.batching.ragged_rows import RaggedRows

PLAIN = Padding()
IDS = PaddedInput((1,), 7, TensorSpec("mask", "INT64", (-1, -1)))
PADDED = Padding({"ids": IDS}, {"tags": FollowingOutput("ids", (1,))})


def ids(*rows: list[int]) -> dict[str, Array]:
    return {"ids": np.array(rows, dtype=np.int64)}


def test_rows_are_stacked_in_order_whatever_the_order_of_the_inputs() -> None:
    first = {"x": np.ones((1, 2)), "y": np.zeros((1, 1))}
    second = {"y": np.ones((2, 1)), "x": np.zeros((2, 2))}
    stacked = PLAIN.stack([first, second])
    assert stacked["x"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert stacked["y"].tolist() == [[0], [1], [1]]


def test_stacking_copies_so_that_a_model_cannot_write_into_a_record() -> None:
    for padding in (PLAIN, PADDED):
        inputs = ids([1, 2])
        inputs["ids"].flags.writeable = False
        stacked = padding.stack([inputs])
        assert stacked["ids"].flags.writeable
        assert not np.shares_memory(stacked["ids"], inputs["ids"])


def test_shorter_rows_are_filled_up_and_the_mask_says_where() -> None:
    stacked = PADDED.stack([ids([1, 2, 3]), ids([4], [5])])
    assert stacked["ids"].tolist() == [[1, 2, 3], [4, 7, 7], [5, 7, 7]]
    assert stacked["mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert stacked["mask"].dtype == np.int64


def test_a_mask_is_made_where_nothing_is_padded() -> None:
    assert PADDED.stack([ids([1, 2])])["mask"].tolist() == [[1, 1]]


def test_sizes_are_brought_to_the_next_length_and_beyond_the_last_left_as_they_are() -> None:
    padding = Padding({"ids": IDS}, lengths=(2, 4))
    assert padding.stack([ids([1]), ids([1, 2, 3])])["ids"].shape == (2, 4)
    assert padding.stack([ids([1, 2, 3, 4, 5])])["ids"].shape == (1, 5)


def test_two_dimensions_are_padded_each_to_its_own_largest() -> None:
    padding = Padding({"image": PaddedInput((1, 2), 0, TensorSpec("mask", "BOOL", (-1, -1, -1)))})
    wide, high = np.ones((1, 2, 3, 1), np.float32), np.ones((1, 3, 1, 1), np.float32)
    stacked = padding.stack([{"image": wide}, {"image": high}])
    assert stacked["image"].shape == (2, 3, 3, 1)
    assert np.array_equal(stacked["image"][..., 0].astype(bool), stacked["mask"])
    assert stacked["mask"].sum() == 9


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=12),
    st.sampled_from([(), (4, 8, 16)]),
)
def test_what_is_padded_and_cut_is_what_it_was(shapes: list[tuple[int, int]], lengths: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    requests = [{"ids": rng.integers(0, 99, shape)} for shape in shapes]
    padding = Padding(PADDED.inputs, PADDED.outputs, lengths)
    stacked = padding.stack(requests)
    outputs = {"tags": 2 * stacked["ids"], "count": stacked["mask"].sum(axis=1)}
    for part, request in zip(padding.cut(outputs, requests, stacked), requests, strict=True):
        assert np.array_equal(part["tags"], 2 * request["ids"])
        assert part["count"].tolist() == [request["ids"].shape[1]] * len(request["ids"])


def test_an_output_that_does_not_follow_its_input_is_an_error() -> None:
    requests = [ids([1, 2, 3])]
    stacked = PADDED.stack(requests)
    with pytest.raises(OutputInvalid, match=r"'tags' has shape \[1, 2\], and is to follow input 'ids'"):
        PADDED.cut({"tags": np.zeros((1, 2))}, requests, stacked)


def test_rows_are_added_by_repeating_the_last() -> None:
    assert pad_rows(ids([1], [2]), 4)["ids"].tolist() == [[1], [2], [2], [2]]


@given(st.integers(0, 40), st.sets(st.integers(1, 40)).map(sorted))
def test_rounding_up_finds_the_nearest_step(number: int, steps: list[int]) -> None:
    above = [step for step in steps if step >= number]
    assert round_up(number, steps) == (above[0] if above else number)


def ragged(*rows: list[int]) -> RaggedRows:
    return RaggedRows(
        np.array([value for row in rows for value in row], np.int32), np.array([len(row) for row in rows])
    )


def test_ragged_rows_are_padded_when_they_are_stacked_to_the_longest_or_the_next_length() -> None:
    jobs = [{"ids": ragged([1, 2], [])}, {"ids": ragged([3, 4, 5])}]
    stacked = Padding({"ids": PaddedInput((1,), 9)}).stack(jobs)["ids"]
    assert stacked.tolist() == [[1, 2, 9], [9, 9, 9], [3, 4, 5]]
    assert stacked.dtype == np.int64
    stepped = Padding({"ids": PaddedInput((1,), 9)}, lengths=(4, 8)).stack(jobs)["ids"]
    assert stepped.tolist() == [[1, 2, 9, 9], [9, 9, 9, 9], [3, 4, 5, 9]]
    assert Padding().stack(jobs)["ids"].tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]


def test_slices_of_ragged_rows_are_padded_to_the_longest_of_the_slice() -> None:
    rows = ragged([1], [2], [3, 4, 5, 6])
    assert Padding({"ids": PaddedInput((1,))}).stack([{"ids": rows[0:2]}])["ids"].tolist() == [[1], [2]]
