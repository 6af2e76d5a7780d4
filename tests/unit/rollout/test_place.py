"""Up to where a topic was read: nothing is taken in behind a gap, unless the gap is the topic's own."""

from workers.rollout.place import MOST_RETURNS, Place


def test_records_in_order_are_taken_in_and_earlier_ones_once_more() -> None:
    place = Place(5)
    assert [place.takes(offset) for offset in (5, 6, 3, 4, 5, 6, 7)] == [True] * 7
    assert place.next == 8


def test_what_comes_behind_a_gap_is_left_until_the_gap_was_read() -> None:
    place = Place(5)
    assert [place.takes(offset) for offset in (6, 7)] == [False, False]
    assert place.go_back(earliest=2) == 5
    assert [place.takes(offset) for offset in (5, 6, 7)] == [True] * 3


def test_what_was_fetched_before_a_return_passes_no_gap_however_much_it_is() -> None:
    place = Place(5)
    for offset in range(8, 8 + 3 * MOST_RETURNS):
        assert not place.takes(offset)
        place.go_back(earliest=0)
    assert [place.takes(offset) for offset in range(5, 8)] == [True] * 3


def test_what_is_deleted_by_now_is_not_waited_for() -> None:
    place = Place(5)
    assert not place.takes(20)
    assert place.go_back(earliest=20) == 20
    assert place.takes(20)


def test_a_topic_that_was_never_read_is_read_from_its_beginning() -> None:
    place = Place(-1)
    assert not place.takes(7)
    assert place.go_back(earliest=0) == 0
    assert place.takes(0)


def test_a_gap_of_the_topics_own_is_passed_after_some_returns() -> None:
    place = Place(5)
    for _ in range(MOST_RETURNS):
        assert not place.takes(6)
        assert place.go_back(earliest=0) == 5
    assert place.takes(6)
    assert not place.takes(9)  # the next one is another
