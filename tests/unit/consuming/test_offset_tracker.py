"""The low-water mark: what may be committed, told by example."""

from workers.consuming.offsets import OffsetTracker, Partition

P0 = Partition("things", 0)
P1 = Partition("things", 1)


def tracker_with(partition: Partition, offsets: range) -> tuple[OffsetTracker, int]:
    tracker = OffsetTracker()
    tracker.assign([partition])
    epoch = tracker.register(partition, offsets)
    assert epoch is not None
    return tracker, epoch


def test_nothing_is_committed_before_something_was_fetched() -> None:
    tracker = OffsetTracker()
    tracker.assign([P0])
    assert tracker.to_commit() == {}


def test_the_mark_is_the_first_unfinished_offset() -> None:
    tracker, epoch = tracker_with(P0, range(10, 15))
    tracker.finish(P0, epoch, [12, 11])
    assert tracker.to_commit() == {P0: 10}

    tracker.finish(P0, epoch, [10])
    assert tracker.to_commit() == {P0: 13}


def test_with_all_finished_the_mark_is_one_past_the_last() -> None:
    tracker, epoch = tracker_with(P0, range(10, 15))
    tracker.finish(P0, epoch, range(10, 15))
    assert tracker.to_commit() == {P0: 15}
    assert tracker.open_count() == 0


def test_gaps_in_the_offsets_are_not_waited_for() -> None:
    tracker, epoch = tracker_with(P0, range(10, 20, 3))
    tracker.finish(P0, epoch, [10])
    assert tracker.to_commit() == {P0: 13}


def test_what_has_been_committed_is_not_committed_again() -> None:
    tracker, epoch = tracker_with(P0, range(2))
    tracker.finish(P0, epoch, [0])
    tracker.committed(tracker.to_commit())
    assert tracker.to_commit() == {}

    tracker.finish(P0, epoch, [1])
    assert tracker.to_commit() == {P0: 2}


def test_a_mark_that_moved_while_the_commit_was_on_its_way_is_committed_next() -> None:
    tracker, epoch = tracker_with(P0, range(3))
    tracker.finish(P0, epoch, [0])
    on_its_way = tracker.to_commit()
    tracker.finish(P0, epoch, [1])
    tracker.committed(on_its_way)
    assert tracker.to_commit() == {P0: 2}


def test_finishing_in_an_epoch_that_is_over_changes_nothing() -> None:
    tracker, old = tracker_with(P0, range(5))
    tracker.revoke([P0])
    tracker.assign([P0])
    new = tracker.register(P0, range(5))

    tracker.finish(P0, old, range(5))

    assert new is not None
    assert new != old
    assert not tracker.owns(P0, old)
    assert tracker.owns(P0, new)
    assert tracker.to_commit() == {P0: 0}
    assert tracker.open_count(P0) == 5


def test_a_lost_partition_is_neither_committed_nor_registered() -> None:
    tracker, epoch = tracker_with(P0, range(5))
    tracker.finish(P0, epoch, range(5))
    tracker.revoke([P0])

    assert tracker.to_commit() == {}
    assert tracker.register(P0, [5]) is None
    assert tracker.partitions() == []
    tracker.committed({P0: 5})


def test_finishing_twice_is_finishing_once() -> None:
    tracker, epoch = tracker_with(P0, range(3))
    tracker.finish(P0, epoch, [0, 0])
    tracker.finish(P0, epoch, [0])
    assert tracker.to_commit() == {P0: 1}


def test_the_span_is_what_would_come_again_after_a_crash() -> None:
    tracker, epoch = tracker_with(P0, range(100))
    assert tracker.span(P0) == 100
    tracker.finish(P0, epoch, range(1, 100))
    assert tracker.span(P0) == 100
    tracker.finish(P0, epoch, [0])
    assert tracker.span(P0) == 0
    assert tracker.span(P1) == 0


def test_partitions_are_counted_on_their_own() -> None:
    tracker, epoch = tracker_with(P0, range(3))
    tracker.assign([P1])
    tracker.register(P1, range(7))
    tracker.finish(P0, epoch, [0])
    assert (tracker.open_count(P0), tracker.open_count(P1), tracker.open_count()) == (2, 7, 9)


def test_the_next_offset_is_where_reading_goes_on() -> None:
    tracker, epoch = tracker_with(P0, range(10, 15))
    tracker.finish(P0, epoch, range(10, 15))
    tracker.assign([P1])
    assert (tracker.next_offset(P0), tracker.next_offset(P1)) == (15, None)
    tracker.revoke([P0])
    assert tracker.next_offset(P0) is None
