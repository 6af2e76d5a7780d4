"""What the windows hold, written down for comparisons."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.stats import Counts, End
from schemas.topics import LaneClass
from schemas.version_counts import SPAN_S, Sums
from stores.memory_version_counts import MemoryVersionCounts
from tests.unit.rollout.test_windows import NOON_S, told
from workers.rollout.spans import SpanWriter
from workers.rollout.windows import BUCKET_S, Windows

NOON = datetime.fromtimestamp(NOON_S, UTC)
SPAN = timedelta(seconds=SPAN_S)


class Site:
    def __init__(self) -> None:
        self.store = MemoryVersionCounts()
        self.windows = Windows({})
        self.read_until: datetime | None = NOON
        self.writer = SpanWriter(self.store, self.windows, lambda: self.read_until)

    async def sums(self, version: str = "1") -> list[Sums]:
        found = await self.store.read("digits", [version], LaneClass.LIVE, NOON - SPAN, NOON + 10 * SPAN)
        return [each.sums for each in found]


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_span_is_a_bucket_of_the_windows() -> None:
    assert SPAN_S == BUCKET_S


async def test_what_was_counted_is_written_without_cohorts(site: Site) -> None:
    counts = Counts(ends={End.SUCCEEDED: {1: 2, 7: 3}, End.FAILED: {7: 1}}, others={End.CANCELED: 4}, rescued=1)
    site.windows.take(told(0, counts=counts), NOON_S)
    site.windows.take(told(5, "2"), NOON_S)
    await site.writer.write()
    ends = {End.SUCCEEDED: 5, End.FAILED: 1}
    assert await site.sums() == [Sums(ends=ends, others={End.CANCELED: 4}, rescued=1)]
    assert await site.sums("2") == [Sums(ends={End.SUCCEEDED: 1})]


async def test_a_span_is_written_again_as_long_as_it_grows(site: Site) -> None:
    for number in range(3):
        site.windows.take(told(5 * number), NOON_S + 5 * number)
        await site.writer.write()
        assert [each.size for each in await site.sums()] == [number + 1]
    site.windows.take(told(BUCKET_S), NOON_S + BUCKET_S)
    site.windows.tidy(NOON_S + 2 * BUCKET_S)
    await site.writer.write()
    assert [each.size for each in await site.sums()] == [3, 1]


async def test_a_span_is_added_up_again_only_where_records_came_or_it_was_summed_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    added_up: list[datetime] = []
    between = site.windows.between

    def seen(model: str, versions: Sequence[str], lane: LaneClass, since: datetime, until: datetime) -> Any:
        added_up.append(since)
        return between(model, versions, lane, since, until)

    monkeypatch.setattr(site.windows, "between", seen)
    site.windows.take(told(0), NOON_S)
    for _ in range(3):
        await site.writer.write()
    assert added_up == [NOON]
    site.windows.take(told(5), NOON_S + 5)
    for _ in range(3):
        await site.writer.write()
    site.windows.tidy(NOON_S + 2 * BUCKET_S)
    for _ in range(3):
        await site.writer.write()
    assert added_up == [NOON] * 3


async def test_nothing_is_written_where_another_process_counts_and_all_where_this_one_takes_over(site: Site) -> None:
    site.windows.take(told(0), NOON_S)
    site.read_until = None
    await site.writer.write()
    assert await site.sums() == []
    site.read_until = NOON
    await site.writer.write()
    assert [each.size for each in await site.sums()] == [1]


async def test_what_could_not_be_written_is_written_later_and_the_log_says_so_once(site: Site) -> None:
    site.windows.take(told(0), NOON_S)
    site.store.down = True
    with capture_logs() as logs:
        await site.writer.write()
        await site.writer.write()
    assert len(logs) == 1
    site.store.down = False
    await site.writer.write()
    assert [each.size for each in await site.sums()] == [1]


async def test_a_version_that_only_answers_copies_is_written_down(site: Site) -> None:
    site.windows.take(told(0, counts=Counts(run_times={3: {-40: 2}})), NOON_S)
    await site.writer.write()
    assert await site.sums() == [Sums(run_times={3: {-40: 2}})]
