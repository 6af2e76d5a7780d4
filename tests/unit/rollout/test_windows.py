"""Windows of what workers counted: each record once, sums of older ones, and nothing for ever."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.stats import (
    FIRST_BIN,
    INTERVAL_S,
    LAST_BIN,
    NOTHING,
    Counts,
    End,
    StatsRecord,
    added,
    decode_stats,
    encode_stats,
)
from schemas.topics import LaneClass
from workers.rollout import windows as module
from workers.rollout.clocks import MOST_VERSIONS, TOLD_FOR_S, Clocks
from workers.rollout.windows import AHEAD_S, BUCKET_S, KEPT_S, MOST_CHANGES, Taken, Windows

# The beginning of a bucket.
NOON_S = datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()
ONE = Counts(ends={End.SUCCEEDED: {7: 1}})


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOON_S + seconds, UTC)


def told(after_s: int = 0, version: str = "1", worker: str = "w", counts: Counts = ONE, **more: str) -> StatsRecord:
    began, ended = at(after_s), at(after_s + INTERVAL_S)
    lane = LaneClass(more.get("lane", "live"))
    return StatsRecord(
        model="digits", version=version, lane=lane, worker=worker, began_at=began, ended_at=ended, counts=counts
    )


def jobs(windows: Windows, since_s: float, until_s: float, version: str = "1") -> int:
    found = windows.between("digits", [version], LaneClass.LIVE, at(since_s), at(until_s))
    return found[version].jobs()


def test_records_of_several_workers_and_intervals_add_up_by_version_and_lane() -> None:
    windows = Windows({})
    for record in (told(0), told(0, worker="other"), told(5), told(0, "2"), told(0, lane="bulk")):
        assert windows.take(record, NOON_S) is Taken.COUNTED
    found = windows.between("digits", ["1", "2", "3"], LaneClass.LIVE, at(0), at(10))
    assert {version: counts.jobs() for version, counts in found.items()} == {"1": 3, "2": 1, "3": 0}


def test_only_intervals_that_lie_between_the_moments_count() -> None:
    windows = Windows({})
    for after_s in (0, 5, 10):
        windows.take(told(after_s), NOON_S + 15)
    assert [jobs(windows, *span) for span in ((0, 15), (5, 15), (4, 15), (5, 14), (6, 9))] == [3, 2, 2, 1, 0]


def test_a_record_that_is_read_twice_counts_once() -> None:
    windows = Windows({})
    assert [windows.take(told(), NOON_S) for _ in range(3)] == [Taken.COUNTED, Taken.REPEATED, Taken.REPEATED]
    assert jobs(windows, 0, 5) == 1


def test_a_worker_whose_clock_is_far_ahead_is_not_listened_to() -> None:
    windows = Windows({})
    assert windows.take(told(AHEAD_S), NOON_S) is Taken.COUNTED
    assert windows.take(told(AHEAD_S + 5), NOON_S) is Taken.AHEAD


def test_the_records_of_an_old_bucket_give_way_to_their_sum() -> None:
    table: dict[bytes, bytes] = {}
    windows = Windows(table)
    for after_s in range(0, 100, 5):
        windows.take(told(after_s), NOON_S + after_s)
    windows.tidy(NOON_S + 2 * BUCKET_S - 1)
    assert len(table) == len(windows) == 20
    windows.tidy(NOON_S + 2 * BUCKET_S)
    assert len(table) == len(windows) == 1
    assert jobs(windows, 0, BUCKET_S) == 20
    assert jobs(windows, 0, BUCKET_S - 1) == 0  # whole buckets only, by then


def test_what_comes_after_its_bucket_was_summed_up_is_late() -> None:
    windows = Windows({})
    windows.take(told(0), NOON_S)
    windows.tidy(NOON_S + 2 * BUCKET_S)
    assert windows.take(told(5), NOON_S + 2 * BUCKET_S) is Taken.LATE
    assert windows.take(told(0, "2"), NOON_S + KEPT_S + 1) is Taken.LATE


def test_after_a_day_nothing_is_left() -> None:
    table: dict[bytes, bytes] = {}
    windows = Windows(table)
    windows.take(told(0), NOON_S)
    windows.tidy(NOON_S + 2 * BUCKET_S)
    windows.tidy(NOON_S + BUCKET_S + KEPT_S)
    assert (table, len(windows), windows._lanes) == ({}, 0, {})


def test_much_that_is_due_is_tidied_a_part_at_a_time() -> None:
    table: dict[bytes, bytes] = {}
    windows = Windows(table)
    for after_s in range(0, BUCKET_S, 5):
        for number in range(4):
            windows.take(told(after_s, version=f"{number}"), NOON_S + after_s)
    for left in (BUCKET_S // 5 + 3, 4):
        windows.tidy(NOON_S + 2 * BUCKET_S)
        assert len(table) == left
    assert len(range(0, BUCKET_S, 5)) * 4 > MOST_CHANGES


def test_records_of_many_workers_give_way_a_part_at_a_time_and_count_once() -> None:
    table: dict[bytes, bytes] = {}
    windows = Windows(table)
    for after_s in range(0, BUCKET_S, 5):
        for worker in "abc":
            windows.take(told(after_s, worker=worker), NOON_S + after_s)
    for left in (3 * BUCKET_S // 5 - MOST_CHANGES, 0):
        windows.tidy(NOON_S + 2 * BUCKET_S)
        assert len(table) == len(windows) == 1 + left
        assert jobs(windows, 0, BUCKET_S) == 3 * BUCKET_S // 5


def test_what_is_told_after_its_interval_was_judged_is_counted_and_said_to_be_late_for_that() -> None:
    windows = Windows({})
    found = [windows.take(told(after_s), NOON_S + 12, NOON_S + 10) for after_s in (5, 10, 5)]
    assert found == [Taken.UNJUDGED, Taken.COUNTED, Taken.REPEATED]
    assert jobs(windows, 0, 15) == 2


def test_a_keeper_that_starts_again_knows_what_the_table_holds() -> None:
    table: dict[bytes, bytes] = {b"no/key": b"", b"\xff": b"", b"a/b/c/d": b"{}"}
    before = Windows(table)
    before.take(told(0), NOON_S)
    before.take(told(BUCKET_S), NOON_S + BUCKET_S)
    before.tidy(NOON_S + 2 * BUCKET_S)
    after = Windows(table)
    after.rebuild()
    assert len(after) == len(before) == 2
    assert jobs(after, 0, 2 * BUCKET_S) == 2
    assert after.take(told(BUCKET_S), NOON_S + BUCKET_S) is Taken.REPEATED
    assert after.take(told(5), NOON_S + BUCKET_S) is Taken.LATE


def test_what_somebody_else_wrote_into_the_table_counts_nothing() -> None:
    table: dict[bytes, bytes] = {}
    windows = Windows(table)
    windows.take(told(0), NOON_S)
    windows.take(told(5), NOON_S)
    table[next(iter(table))] = b"\xff{"
    assert jobs(windows, 0, 10) == 1
    windows.tidy(NOON_S + 2 * BUCKET_S)
    assert jobs(windows, 0, BUCKET_S) == 1


class CutOff(Exception):
    """The process ends."""


class DyingTable(dict[bytes, bytes]):
    """Takes so many more changes."""

    changes_left = 0

    def _change(self) -> None:
        if self.changes_left == 0:
            raise CutOff
        self.changes_left -= 1

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._change()
        super().__setitem__(key, value)

    def __delitem__(self, key: bytes) -> None:
        self._change()
        super().__delitem__(key)


@pytest.mark.parametrize("changes", range(6))
def test_a_sum_is_whole_wherever_a_keeper_dies_that_makes_it(changes: int) -> None:
    table = DyingTable()
    table.changes_left = 5
    dying = Windows(table)
    for after_s in range(0, 25, 5):
        dying.take(told(after_s), NOON_S)
    table.changes_left = changes
    with pytest.raises(CutOff):
        dying.tidy(NOON_S + 2 * BUCKET_S)
    table.changes_left = 100
    after = Windows(table)
    after.rebuild()
    assert jobs(after, 0, BUCKET_S) == 5
    after.tidy(NOON_S + 2 * BUCKET_S)
    assert (jobs(after, 0, BUCKET_S), len(table)) == (5, 1)


some_records = st.lists(
    st.tuples(st.integers(0, 3 * BUCKET_S // 5 - 1), st.sampled_from("ab"), st.integers(0, 99), st.integers(1, 9)),
    max_size=40,
)


@given(some_records, st.lists(st.integers(0, 5 * BUCKET_S), max_size=3))
def test_no_record_is_lost_or_doubled_by_summing_up(
    records: list[tuple[int, str, int, int]], tidied: list[int]
) -> None:
    windows = Windows({})
    taken: dict[tuple[int, str], Counts] = {}
    moments: Iterator[int] = iter(sorted(tidied))
    for interval, worker, cohort, count in records:
        counts = Counts(ends={End.FAILED: {cohort: count}})
        if windows.take(told(5 * interval, worker=worker, counts=counts), NOON_S + 5 * interval) is Taken.COUNTED:
            taken[interval, worker] = counts
    for moment in moments:
        windows.tidy(NOON_S + moment)
    found = windows.between("digits", ["1"], LaneClass.LIVE, at(0), at(3 * BUCKET_S))["1"]
    assert found == added(NOTHING, *taken.values())
    assert timedelta(seconds=BUCKET_S) % timedelta(seconds=INTERVAL_S) == timedelta()


def test_what_is_kept_has_bounds_and_the_rest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a table that takes two lanes, two records of a lane's bucket, and some bytes
    monkeypatch.setattr(module, "MOST_LANES", 2)
    monkeypatch.setattr(module, "MOST_IN_A_BUCKET", 2)
    table: dict[bytes, bytes] = {}
    windows = Windows(table)

    # When somebody writes under many names
    workers = [windows.take(told(0, worker=worker), NOON_S) for worker in "abc"]
    versions = [windows.take(told(0, version), NOON_S) for version in ("2", "3")]

    # Then some of it is kept, and what was there is served as before
    assert workers == [Taken.COUNTED, Taken.COUNTED, Taken.NO_ROOM]
    assert versions == [Taken.COUNTED, Taken.NO_ROOM]
    assert len(table) == 3
    assert windows.take(told(BUCKET_S), NOON_S + BUCKET_S) is Taken.COUNTED, "of another ten minutes"
    assert windows.take(told(0, worker="a"), NOON_S) is Taken.REPEATED


def test_the_table_is_bounded_by_its_bytes_and_has_room_again_once_it_was_tidied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    table: dict[bytes, bytes] = {}
    windows = Windows(table)
    taken = [windows.take(told(0, worker=f"{number}"), NOON_S) for number in range(20)]
    kept = taken.count(Taken.COUNTED)
    assert 0 < kept < 10
    assert taken == [Taken.COUNTED] * kept + [Taken.NO_ROOM] * (20 - kept)

    again = Windows(table)
    again.rebuild()
    assert again._bytes == windows._bytes, "who takes over knows what is there"
    windows.tidy(NOON_S + 2 * BUCKET_S)
    assert windows.take(told(2 * BUCKET_S), NOON_S + 2 * BUCKET_S) is Taken.COUNTED
    windows.tidy(NOON_S + 5 * BUCKET_S)
    windows.tidy(NOON_S + 3 * BUCKET_S + KEPT_S)
    assert (table, windows._bytes) == ({}, 0)


def test_a_record_of_great_size_is_none() -> None:
    cohorts = dict.fromkeys(range(100), 2**31 // 100_000)
    kinds = Counts(ends=dict.fromkeys(End, cohorts))
    assert decode_stats(encode_stats(told(counts=kinds))).counts == kinds, "what a worker may have to say"
    bins = dict.fromkeys(range(FIRST_BIN, LAST_BIN), 10_000)
    large = encode_stats(told(counts=Counts(run_times=dict.fromkeys(range(33), bins))))
    with pytest.raises(msgspec.ValidationError, match="at most 65536 bytes"):
        decode_stats(large)


def test_of_more_versions_than_are_kept_with_wrong_clocks_nothing_goes_on() -> None:
    clocks, ahead_s = Clocks(), NOON_S - 60
    for number in range(MOST_VERSIONS + 100):
        assert not clocks.is_right(told(0, version=f"v{number}"), ahead_s)
    assert len(clocks._wrong) == MOST_VERSIONS + 1
    assert clocks.wrong("digits", ["unheard-of"], ahead_s) is not None
    assert clocks.wrong("digits", ["unheard-of"], ahead_s + TOLD_FOR_S + 1) is None


def test_all_buckets_are_told_and_of_how_many_records_or_that_they_are_summed_up() -> None:
    windows = Windows({})
    windows.take(told(0), NOON_S)
    windows.take(told(0, "2"), NOON_S)
    windows.take(told(BUCKET_S), NOON_S + BUCKET_S)
    windows.tidy(NOON_S + 2 * BUCKET_S)
    windows.take(told(BUCKET_S + 5), NOON_S + BUCKET_S)
    found = {(lane.version, start - NOON_S): records for (lane, start), records in windows.buckets().items()}
    assert found == {("1", 0): 0, ("2", 0): 0, ("1", BUCKET_S): 2}
