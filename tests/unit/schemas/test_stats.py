"""Counts of workers: integers that add exactly, whatever the order, and what a record of them may say."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas.errors
from schemas.errors import JobError, PenstockError
from schemas.stats import (
    BINS_A_DOUBLING,
    FAULTS,
    FIRST_BIN,
    INTERVAL_S,
    LAST_BIN,
    NOTHING,
    Counts,
    End,
    StatsRecord,
    added,
    bin_of,
    decode_stats,
    encode_stats,
    end_kind,
    interval_start,
    size_class,
)
from schemas.topics import LaneClass

MONDAY = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)

some = st.integers(1, 2**20)
cohorts = st.dictionaries(st.integers(0, 99), some, min_size=1, max_size=4)
bins = st.dictionaries(st.integers(FIRST_BIN, LAST_BIN), some, min_size=1, max_size=4)
counts = st.builds(
    Counts,
    ends=st.dictionaries(st.sampled_from(End), cohorts, max_size=3),
    others=st.dictionaries(st.sampled_from(End), some, max_size=3),
    run_times=st.dictionaries(st.integers(0, 12), bins, max_size=3),
    rescued=st.integers(0, 9),
    moved=st.integers(0, 9),
    revisions=st.none() | st.tuples(st.integers(0, 9), st.integers(10, 19)),
)


def record(**said: object) -> StatsRecord:
    known = StatsRecord(
        model="digits",
        version="2",
        lane=LaneClass.LIVE,
        worker="w-1",
        began_at=MONDAY,
        ended_at=MONDAY + timedelta(seconds=INTERVAL_S),
        counts=Counts(ends={End.SUCCEEDED: {7: 3}}, revisions=(4, 5)),
    )
    return msgspec.structs.replace(known, **said)


@given(counts, counts, counts)
def test_counts_add_up_to_the_same_in_any_order_and_grouping(one: Counts, two: Counts, three: Counts) -> None:
    assert added(one, two, three) == added(three, added(two, one)) == added(added(one, three), two)
    assert added(one, NOTHING) == added(one) == one


@given(counts, counts)
def test_a_sum_holds_the_jobs_and_runs_of_both_and_changes_neither(one: Counts, two: Counts) -> None:
    before = msgspec.json.encode([one, two])
    both = added(one, two)
    assert both.everything == one.everything + two.everything
    assert both.jobs(FAULTS) == one.jobs(FAULTS) + two.jobs(FAULTS) == sum(both.by_cohort(FAULTS).values())
    assert msgspec.json.encode([one, two]) == before


@given(counts)
def test_a_record_is_read_as_it_was_written(counted: Counts) -> None:
    written = record(counts=counted)
    assert decode_stats(encode_stats(written)) == written


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        encode_stats(record(model="../secrets")),
        encode_stats(record(worker="")),
        encode_stats(record(worker="w" * 201)),
        encode_stats(record(counts=Counts(ends={End.FAILED: {100: 1}}))),
        encode_stats(record(counts=Counts(ends={End.FAILED: {1: -1}}))),
        encode_stats(record(counts=Counts(run_times={0: {LAST_BIN + 1: 1}}))),
        encode_stats(record(counts=Counts(moved=2**40))),
        encode_stats(record(began_at=MONDAY.replace(tzinfo=None))),
    ],
    ids=lambda value: str(len(value)),
)
def test_what_no_worker_writes_is_refused(value: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError)):
        decode_stats(value)


def test_an_end_of_a_kind_that_only_a_newer_worker_knows_counts_as_another_and_the_rest_as_it_is() -> None:
    newer = encode_stats(record(counts=Counts(ends={End.FAILED: {1: 2}, End.CANCELED: {3: 4}}, others={End.FAILED: 5})))
    found = decode_stats(newer.replace(b"failed", b"exploded")).counts
    assert (found.ends, found.others) == ({End.OTHER: {1: 2}, End.CANCELED: {3: 4}}, {End.OTHER: 5})
    assert End.OTHER not in FAULTS


def test_what_a_newer_worker_says_beside_is_passed_over() -> None:
    assert decode_stats(encode_stats(record()).replace(b'{"model"', b'{"color":"blue","model"')) == record()


def test_every_end_of_a_run_is_classified_and_all_others_are_the_clients() -> None:
    classes = [each for each in vars(schemas.errors).values() if isinstance(each, type)]
    errors = [each for each in classes if issubclass(each, PenstockError)]
    clients = {each for each in errors if end_kind(each.code) is End.CLIENT_ERROR}
    assert not [each for each in clients if issubclass(each, JobError)]
    assert all(issubclass(each, JobError) for each in errors if each not in clients)
    assert end_kind(None) is End.SUCCEEDED


def upper_edge_s(at: int) -> float:
    """The longest duration of a bin, in seconds."""
    return float(2 ** (at / BINS_A_DOUBLING))


@given(st.floats(1e-6, 4000))
def test_a_bin_holds_what_lies_between_its_edges(seconds: float) -> None:
    at = bin_of(seconds)
    assert upper_edge_s(at - 1) <= seconds * (1 + 1e-9)
    assert seconds <= upper_edge_s(at) * (1 + 1e-9)


def test_the_upper_edge_of_a_bin_lies_in_it() -> None:
    every = range(FIRST_BIN, LAST_BIN + 1)
    assert [bin_of(upper_edge_s(at)) for at in every] == list(every)


@pytest.mark.parametrize(("seconds", "at"), [(0.0, FIRST_BIN), (-1.0, FIRST_BIN), (1e-12, FIRST_BIN), (1e9, LAST_BIN)])
def test_what_lies_beyond_all_bins_is_counted_in_the_nearest(seconds: float, at: int) -> None:
    assert bin_of(seconds) == at


@pytest.mark.parametrize(("rows", "cls"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (1024, 10)])
def test_runs_are_classed_by_the_power_of_two_that_holds_them(rows: int, cls: int) -> None:
    assert size_class(rows) == cls


def test_intervals_begin_at_whole_multiples_of_their_length() -> None:
    assert interval_start(MONDAY) == MONDAY
    assert interval_start(MONDAY + timedelta(seconds=INTERVAL_S - 0.001)) == MONDAY
