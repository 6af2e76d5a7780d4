"""The pieces of a micro-batch have the size that costs least, for the share of bad rows that was seen."""

import pytest

from benchmarks.division import BEST, average_runs, fewest_runs
from workers.inference.execution.piece_sizes import MOST_PLANNED, SHARE_AT_FIRST, BadShare, PieceSizes


def first_piece(share: float, rows: int = 64, item_price: float = 0.0) -> int:
    return PieceSizes(share, item_price).next(rows, failing=0)


def test_a_version_without_bad_rows_runs_whole_micro_batches() -> None:
    share = BadShare()
    assert first_piece(share.value, 2000) == 2000
    share.learn(bad=0, good=10_000)
    assert first_piece(share.value, 2000) == 2000


def test_the_more_rows_are_bad_the_smaller_are_the_first_pieces() -> None:
    # About ln 2 over the share: such a piece fails as often as it passes
    assert first_piece(0.01) == 64
    assert 20 <= first_piece(0.03) <= 28
    assert 5 <= first_piece(0.1) <= 8
    assert 3 <= first_piece(0.2) <= 4
    assert first_piece(0.45) == first_piece(1.0) == 1


def test_what_fails_together_is_split_near_the_middle_where_few_are_bad_and_long_before_where_many_are() -> None:
    assert 24 <= PieceSizes().next(64, failing=64) <= 32
    assert PieceSizes(0.3).next(64, failing=7) < 3


def test_where_a_row_costs_as_much_as_a_run_pieces_are_smaller() -> None:
    assert first_piece(0.1, item_price=1.0) < first_piece(0.1)


@pytest.mark.parametrize("rows", [MOST_PLANNED + 1, 1000, 100_000])
def test_numbers_of_rows_beyond_what_is_planned_get_pieces_like_others(rows: int) -> None:
    assert first_piece(0.1, rows) == pytest.approx(7, abs=3) or rows > 1000
    assert 0 < PieceSizes(0.1).next(rows, failing=rows) <= rows // 2
    assert 0 < first_piece(0.01, rows) <= rows


def test_bad_rows_are_learned_within_a_micro_batch_and_forgotten_after_many_good_ones() -> None:
    # Given a micro-batch of a version that had none
    sizes = PieceSizes(SHARE_AT_FIRST)
    sizes.bad = 16
    assert sizes.next(48, failing=0) < 4
    # When it is done, then the next ones begin with small pieces
    share = BadShare()
    for _ in range(20):
        share.learn(bad=6, good=58)
    assert 5 <= first_piece(share.value) <= 12
    # Until there has been none for a while
    share.learn(bad=0, good=5000)
    assert first_piece(share.value) == 64


@pytest.mark.parametrize("rows", [16, 64, 256])
@pytest.mark.parametrize("share", [0.01, 0.03, 0.1, 0.2, 0.3])
def test_division_takes_few_more_runs_than_any_way_could(rows: int, share: float) -> None:
    runs = average_runs(rows, share, micro_batches=300)
    assert runs / fewest_runs(rows, share) < BEST
