import pytest

from gateway.lane_depth import LaneDepths, LaneView, observe, retry_after_s
from producers.lane_offsets import Offsets
from schemas.errors import LaneFull
from schemas.topics import Lane, LaneClass

LANE = Lane("digits", "2", LaneClass.LIVE)
OTHER = Lane("digits", "2", LaneClass.BULK)


def test_the_first_view_knows_the_lag_but_no_rate() -> None:
    assert observe(None, Offsets({0: 100}, {0: 40}), now_s=1) == LaneView(60, {0: 40}, 1)


def test_the_drain_rate_is_what_was_done_over_the_time_it_took() -> None:
    first = observe(None, Offsets({0: 100}, {0: 40}), now_s=1)
    assert observe(first, Offsets({0: 200}, {0: 60}), now_s=3).drain_records_per_s == pytest.approx(10)


def test_the_drain_rate_is_smoothed() -> None:
    view = LaneView(100, {0: 0}, 0, drain_records_per_s=10)
    assert observe(view, Offsets({0: 200}, {0: 100}), now_s=1).drain_records_per_s == pytest.approx(
        0.3 * 100 + 0.7 * 10
    )


def test_an_empty_lane_keeps_the_rate_it_had() -> None:
    view = LaneView(0, {0: 100}, 0, drain_records_per_s=10)
    assert observe(view, Offsets({0: 100}, {0: 100}), now_s=1).drain_records_per_s == 10


def test_a_group_set_back_is_no_negative_rate() -> None:
    view = LaneView(10, {0: 100}, 0)
    later = observe(view, Offsets({0: 110}, {0: 50}), now_s=1)
    assert (later.lag_records, later.drain_records_per_s) == (60, 0)


def test_a_commit_beyond_the_end_is_no_negative_lag() -> None:
    assert observe(None, Offsets({0: 10}, {0: 12}), now_s=0).lag_records == 0


def test_the_wait_is_what_the_lane_takes_to_drain_a_tenth() -> None:
    assert retry_after_s(1000, 1000, 20) == pytest.approx(5)


@pytest.mark.parametrize(("rate", "seconds"), [(None, 10), (0, 10), (1e9, 1), (0.001, 300)])
def test_the_wait_stays_within_reason(rate: float | None, seconds: float) -> None:
    assert retry_after_s(1000, 1000, rate) == seconds


def test_a_lane_takes_as_many_as_its_limit_and_no_more() -> None:
    depths = LaneDepths(2)
    depths.admit(LANE)
    depths.admit(LANE)
    with pytest.raises(LaneFull) as refused:
        depths.admit(LANE)
    assert (refused.value.limit_records, refused.value.retry_after_s) == (2, 10)
    depths.admit(OTHER)


def test_a_view_replaces_what_was_admitted_before_it_was_asked_for() -> None:
    depths = LaneDepths(10)
    depths.admit(LANE)
    before = depths.admitted(LANE)
    depths.admit(LANE)  # while Kafka is being asked: the answer may not include it
    depths.update(LANE, Offsets({0: 5}, {0: 0}), admitted_before=before, now_s=1)
    assert depths.depth(LANE) == 6


def test_a_drained_lane_is_open_again() -> None:
    depths = LaneDepths(1)
    depths.admit(LANE)
    depths.update(LANE, Offsets({0: 1}, {0: 1}), admitted_before=1, now_s=1)
    depths.admit(LANE)


def test_a_partition_that_is_not_known_now_changes_no_rate() -> None:
    both = observe(LaneView(10, {0: 0, 1: 500}, 0), Offsets({0: 30}, {0: 20}), now_s=2)
    assert both.lag_records == 10
    assert both.drain_records_per_s == pytest.approx(10)
    again = observe(both, Offsets({0: 30, 1: 600}, {0: 30, 1: 550}), now_s=3)
    assert again.lag_records == 50
    assert again.drain_records_per_s == pytest.approx(10)


def test_what_was_not_written_after_all_is_not_counted() -> None:
    depths = LaneDepths(1)
    depths.admit(LANE)
    depths.give_back(LANE)
    depths.admit(LANE)


def test_what_is_given_back_after_a_look_makes_no_lane_emptier_than_empty() -> None:
    depths = LaneDepths(1)
    depths.admit(LANE)
    depths.update(LANE, Offsets({0: 0}, {0: 0}), admitted_before=1, now_s=1)
    depths.give_back(LANE)
    assert depths.depth(LANE) == 0
