"""From counts to what is surely different."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gateway.comparison import compare
from gateway.comparison_documents import Basis, ComparisonDocument, Finding
from schemas.stats import End, bin_of
from schemas.topics import Lane, LaneClass
from schemas.version_counts import SPAN_S, Sums, VersionCounts
from stores.feedback import OutcomeSums

AT = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = timedelta(seconds=SPAN_S)
Counted = tuple[int, int]  # jobs, bad


def of(version: str, number: int, sums: Sums) -> VersionCounts:
    return VersionCounts(Lane("digits", version, LaneClass.LIVE), AT + number * SPAN, sums)


def shared(jobs: int, failed: int) -> Sums:
    return Sums(ends={End.SUCCEEDED: jobs - failed, End.FAILED: failed})


def compared(
    counts: list[VersionCounts], outcomes: list[OutcomeSums] | None = None, versions: tuple[str, ...] = ("1", "2")
) -> ComparisonDocument:
    return compare("digits", versions, LaneClass.LIVE, AT, AT + 200 * SPAN, counts, outcomes or [])


def test_a_failure_rate_that_swings_for_both_is_no_difference() -> None:
    """Version 2 has most of its jobs while everything fails: taken together, three times as many of its jobs fail."""
    counts = [of("1", 0, shared(9_000, 90)), of("2", 0, shared(1_000, 10))]
    counts += [of("1", 1, shared(1_000, 300)), of("2", 1, shared(9_000, 2_700))]
    found = compared(counts)
    assert found.versions[1].failed is not None
    assert found.versions[0].failed is not None
    assert found.versions[1].failed.lower > found.versions[0].failed.upper
    assert found.differences[0].finding is Finding.UNPROVEN
    assert found.differences[0].told == "no difference between 2 and 1 is proven yet"


def test_each_is_held_against_the_first() -> None:
    counts = [
        each
        for number in range(10)
        for each in (
            of("1", number, shared(1000, 30)),
            of("2", number, shared(1000, 3)),
            of("3", number, shared(1000, 150)),
        )
    ]
    found = compared(counts, versions=("1", "2", "3"))
    assert [(each.version, each.than, each.finding) for each in found.differences] == [
        ("2", "1", Finding.BETTER),
        ("3", "1", Finding.WORSE),
    ]
    assert found.differences[0].told.startswith("2 is better than 1: its jobs fail 0.0")
    assert "15 % of 10,000 against 3 % of 10,000" in found.differences[1].told


def test_better_in_one_way_and_worse_in_another_is_mixed() -> None:
    counts = [each for n in range(5) for each in (of("1", n, shared(1000, 50)), of("2", n, shared(1000, 300)))]
    outcomes = [OutcomeSums("1", AT, 1000, 500, 500.0), OutcomeSums("2", AT, 1000, 100, 900.0)]
    (difference,) = compared(counts, outcomes).differences
    assert difference.finding is Finding.MIXED
    assert "2 is worse than 1: its jobs fail" in difference.told
    assert "better than 1: its outcomes are bad" in difference.told


def test_jobs_that_came_by_no_share_count_only_where_there_are_no_others_to_compare() -> None:
    named = Sums(ends={End.SUCCEEDED: 5}, others={End.SUCCEEDED: 95, End.FAILED: 5})
    both = compared([of("1", 0, named), of("2", 0, named)])
    assert (both.basis, both.versions[0].compared) == (Basis.SHARE, 5)
    one = compared([of("1", 0, named), of("2", 0, Sums(others={End.SUCCEEDED: 7}))])
    assert (one.basis, one.versions[0].compared, one.versions[1].compared) == (Basis.ALL, 105, 7)


def run_times(seconds: float, runs: int, spread: float = 0.2) -> dict[int, int]:
    drawn = np.random.default_rng(runs).lognormal(np.log(seconds), spread, runs)
    bins, counts = np.unique([bin_of(each) for each in drawn], return_counts=True)
    return dict(zip(bins.tolist(), counts.tolist(), strict=True))


def test_run_times_are_compared_in_runs_of_one_size() -> None:
    small, large = run_times(0.010, 4000), run_times(0.002, 4000)
    one = Sums(ends={End.SUCCEEDED: 9}, run_times={0: run_times(0.010, 10), 4: large})
    two = Sums(ends={End.SUCCEEDED: 9}, run_times={0: small, 4: run_times(0.002, 3000)})
    found = compared([of("1", 0, one), of("2", 0, two)])
    run_time = found.versions[1].run_time
    assert run_time is not None
    assert (run_time.rows_from, run_time.rows_to, run_time.runs) == (9, 16, 3000)
    assert run_time.p50.lower < 0.002 < (run_time.p50.upper or 0)
    assert run_time.p50.value == pytest.approx(0.002, rel=0.1)
    assert found.differences[0].finding is Finding.UNPROVEN


def test_a_version_that_takes_longer_is_worse() -> None:
    one = Sums(ends={End.SUCCEEDED: 9}, run_times={3: run_times(0.010, 3000)})
    two = Sums(ends={End.SUCCEEDED: 9}, run_times={3: run_times(0.020, 1000)})
    (difference,) = compared([of("1", 0, one), of("2", 0, two)]).differences
    assert difference.run_time is not None
    assert 1.4 < difference.run_time.lower < 2 < (difference.run_time.upper or 0)
    assert "its 95th percentile of run time is" in difference.told


def test_versions_without_runs_of_one_size_have_no_run_times() -> None:
    found = compared(
        [of("1", 0, Sums(run_times={0: run_times(0.01, 9)})), of("2", 0, Sums(run_times={4: run_times(0.01, 9)}))]
    )
    assert [each.run_time for each in found.versions] == [None, None]


def test_agreement_is_that_of_shadows() -> None:
    found = compared([of("1", 0, shared(9, 0)), of("2", 0, Sums(compared=100, differing=3))])
    assert found.versions[0].agreement is None
    assert found.versions[1].agreement is not None
    assert (found.versions[1].agreement.count, found.versions[1].agreement.of) == (97, 100)


def test_many_spans_are_told_as_fewer_and_none_of_their_jobs_is_lost() -> None:
    found = compared([of(version, number, shared(2, 1)) for number in range(1000) for version in ("1", "2")])
    assert len(found.versions[0].over_time) == 200
    assert sum(each.jobs for each in found.versions[0].over_time) == 2000


def test_identical_versions_are_seldom_told_apart() -> None:
    """60 comparisons, each looked at six times, with a share of failures that swings."""
    chance = np.random.default_rng(11)
    wrong = 0
    for _ in range(60):
        counts: list[VersionCounts] = []
        found = []
        for number in range(6):
            share = chance.uniform(0.002, 0.05)
            for version, jobs in (("1", 1900), ("2", 100)):
                counts.append(of(version, number, shared(jobs, int(chance.binomial(jobs, share)))))
            found.append(compared(counts).differences[0].finding)
        wrong += any(each is not Finding.UNPROVEN for each in found)
    assert wrong <= 60 * 0.05
