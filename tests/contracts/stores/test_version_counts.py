"""Contract of `VersionCountStore`: sums that grow, and are read by version and time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from schemas.stats import End
from schemas.topics import Lane, LaneClass
from schemas.version_counts import SPAN_S, Sums, VersionCounts
from stores.memory_version_counts import MemoryVersionCounts
from stores.postgres import PostgresPurging
from stores.postgres.version_counts import PostgresVersionCounts
from stores.retention import DEFAULT_RETENTION, VERSION_COUNTS_KEPT
from stores.version_counts import VersionCountStore
from tests.contracts.stores.conftest import execute

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = timedelta(seconds=SPAN_S)
BOTH = ["1", "2"]


@pytest.fixture
async def counts(dsn: str | None) -> AsyncIterator[VersionCountStore]:
    if dsn is None:
        yield MemoryVersionCounts()
        return
    async with PostgresVersionCounts(dsn) as store:
        yield store


def of(version: str = "2", at: datetime = AT, jobs: int = 3, lane: LaneClass = LaneClass.LIVE) -> VersionCounts:
    sums = Sums(ends={End.SUCCEEDED: jobs}, run_times={3: {-40: jobs}}, rescued=1)
    return VersionCounts(Lane("digits", version, lane), at, sums)


async def test_sums_come_back_oldest_first(counts: VersionCountStore) -> None:
    await counts.write([of("2", AT + SPAN), of("1"), of("2"), of("3"), of("2", lane=LaneClass.BULK)])
    found = await counts.read("digits", BOTH, LaneClass.LIVE, AT, AT + 2 * SPAN)
    assert found == [of("1"), of("2"), of("2", AT + SPAN)]
    assert await counts.read("digits", BOTH, LaneClass.BULK, AT, AT + SPAN) == [of("2", lane=LaneClass.BULK)]
    assert await counts.read("other", BOTH, LaneClass.LIVE, AT, AT + SPAN) == []


async def test_only_those_between_the_two_moments_come(counts: VersionCountStore) -> None:
    await counts.write([of("2", AT + number * SPAN) for number in range(3)])
    found = await counts.read("digits", BOTH, LaneClass.LIVE, AT + SPAN, AT + 2 * SPAN)
    assert found == [of("2", AT + SPAN)]


async def test_a_larger_sum_takes_the_place_of_a_smaller(counts: VersionCountStore) -> None:
    await counts.write([of(jobs=3)])
    await counts.write([of(jobs=8)])
    await counts.write([of(jobs=5)])
    assert await counts.read("digits", BOTH, LaneClass.LIVE, AT, AT + SPAN) == [of(jobs=8)]


async def test_nothing_is_written_and_names_that_no_store_can_hold_are_not_found(counts: VersionCountStore) -> None:
    await counts.write([])
    assert await counts.read("a\0b", BOTH, LaneClass.LIVE, AT, AT + SPAN) == []


async def test_sums_are_forgotten_in_time(shared_dsn: str) -> None:
    """In Postgres only: the twin forgets nothing."""
    await execute(shared_dsn, "delete from version_counts")
    async with PostgresVersionCounts(shared_dsn) as counts:
        await counts.write([of(at=AT), of(at=AT + SPAN)])
    purging = PostgresPurging(shared_dsn, DEFAULT_RETENTION)
    at = AT + VERSION_COUNTS_KEPT + timedelta(seconds=1)
    rows = {purged.table: purged.rows async for purged in purging.purge(at) if purged.rows}
    assert rows["version_counts"] == 1
