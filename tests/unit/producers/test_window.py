"""How much may be in a lane: by what was seen of its rate."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.window import FIRST_ROWS, HALF_LIFE_S, MOST_ROWS, RowRate, Share, estimate, room
from tests.examples import examples

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def test_a_rate_is_rows_by_the_time_in_which_some_were_in_the_lane() -> None:
    rate = RowRate()
    assert rate.rows_per_s(0) is None
    rate.began(0)
    rate.ended(1000, 1)
    assert rate.rows_per_s(1) == 1000
    rate.idle()
    rate.began(3600)
    rate.ended(1000, 3601)
    assert rate.rows_per_s(3601) == pytest.approx(1000, rel=0.05), "the hour without work does not count"


def test_what_was_seen_is_known_after_the_lane_was_empty() -> None:
    rate = RowRate()
    rate.began(0)
    rate.ended(2000, 0.1)
    rate.idle()
    assert rate.rows_per_s(50) == pytest.approx(20_000)
    assert room(rate.rows_per_s(50), 10, 0) > FIRST_ROWS


def test_a_lane_that_ends_nothing_any_more_has_room_for_two_blocks_in_the_end() -> None:
    rate = RowRate()
    rate.began(0)
    rate.ended(100_000, 1)
    seen = [rate.rows_per_s(1 + HALF_LIFE_S * halves) or 0 for halves in range(12)]
    assert seen == sorted(seen, reverse=True)
    assert room(seen[-1], 10, 0) == FIRST_ROWS


@examples(100)
@given(st.floats(0, 1e9), st.floats(0.1, 3600), st.integers(0, 10**6))
def test_there_is_room_for_two_blocks_and_never_for_all(rate: float, window_s: float, held: int) -> None:
    assert max(0, FIRST_ROWS - held) <= room(rate, window_s, held) <= MOST_ROWS


def test_batches_of_a_share_have_one_window_together() -> None:
    share = Share(RowRate())
    share.hold("one", 1500, 0)
    share.hold("two", 500, 0)
    assert share.room(10, 0) == 0
    share.leave("one", 0)
    assert share.room(10, 0) == 1500


def test_an_estimate_stays_within_the_calendar() -> None:
    assert estimate(None, 10, NOON) is None
    assert estimate(1e-9, 1e9, NOON) is not None
    assert estimate(10, 600, NOON) == datetime(2026, 12, 1, 12, 1, tzinfo=UTC)
