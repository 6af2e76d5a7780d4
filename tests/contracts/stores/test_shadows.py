"""Contract of `ShadowStore`."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from schemas.errors import InvalidInput
from schemas.shadows import Disagreement, Pair, ShadowHour, ShadowSums
from stores.memory_shadows import MemoryShadows
from stores.postgres import PostgresPurging
from stores.postgres.shadows import PostgresShadows
from stores.retention import DEFAULT_RETENTION, SHADOWS_KEPT
from stores.shadows import After, PairSums, ShadowAsked, ShadowStore
from tests.contracts.stores.building import NOW
from tests.contracts.stores.conftest import execute

PAIR = Pair(tenant="acme", model="digits", version="2", shadow_of="1")
ASKED = ShadowAsked("acme", "digits")
HOUR = NOW.replace(minute=0, second=0, microsecond=0)


@pytest.fixture
async def shadows(dsn: str | None) -> AsyncIterator[ShadowStore]:
    if dsn is None:
        yield MemoryShadows()
        return
    async with PostgresShadows(dsn, connections=4) as shadows:
        yield shadows


def hour(worker: str = "w-1", *, after_h: int = 0, pair: Pair = PAIR, **sums: Any) -> ShadowHour:
    return ShadowHour(pair=pair, worker=worker, hour=HOUR + timedelta(hours=after_h), sums=ShadowSums(**sums))


def disagreement(job: str, *, after_s: float = 0.0, pair: Pair = PAIR, **more: Any) -> Disagreement:
    return Disagreement(pair=pair, job=job, at=NOW + timedelta(seconds=after_s), why="label", **more)


def other(**changes: str) -> Pair:
    return msgspec.structs.replace(PAIR, **changes)


async def jobs(shadows: ShadowStore, asked: ShadowAsked = ASKED, **page: Any) -> list[str]:
    found = await shadows.disagreements(asked, **{"after": None, "limit": 100, **page})
    return [each.job for each in found]


async def test_hours_of_all_workers_add_up_and_the_newest_of_each_counts(shadows: ShadowStore) -> None:
    await shadows.keep([hour(copied=3, dropped={"lag": 1}), hour("w-2", agreed=5, disagreed=1, dropped={"lag": 2})])
    await shadows.keep([hour(copied=7, agreed=1, dropped={"lag": 1, "late": 4}), hour(after_h=1, invalid=2)])
    await shadows.keep([hour(copied=3, dropped={"lag": 1})])  # an older one, once more
    sums = ShadowSums(copied=7, agreed=6, disagreed=1, invalid=2, dropped={"lag": 3, "late": 4})
    assert await shadows.sums(ASKED, NOW) == [PairSums("2", "1", sums)]
    assert await shadows.sums(ASKED, HOUR + timedelta(hours=1)) == [PairSums("2", "1", ShadowSums(invalid=2))]
    assert await shadows.sums(ASKED, HOUR + timedelta(hours=2)) == []


async def test_one_batch_may_hold_the_same_hour_several_times(shadows: ShadowStore) -> None:
    await shadows.keep([hour(copied=2), hour(copied=3), hour(copied=1)])
    assert await shadows.sums(ASKED, NOW) == [PairSums("2", "1", ShadowSums(copied=3))]
    await shadows.keep([])


async def test_a_job_that_is_compared_twice_disagrees_once(shadows: ShadowStore) -> None:
    first = disagreement("job_1", output="y", rows=3, largest_difference=0.5, answered="é", shadowed="7")
    await shadows.keep([first, disagreement("job_1", after_s=1)])
    await shadows.keep([disagreement("job_1", after_s=2), disagreement("job_1", pair=other(version="3"))])
    found = await shadows.disagreements(ASKED._replace(version="2"), after=None, limit=10)
    assert found == [first]
    assert await jobs(shadows) == ["job_1", "job_1"]


async def test_disagreements_come_newest_first_page_by_page(shadows: ShadowStore) -> None:
    await shadows.keep([disagreement(f"job_{number}", after_s=number // 2) for number in range(6)])
    assert await jobs(shadows) == ["job_5", "job_4", "job_3", "job_2", "job_1", "job_0"]
    assert await jobs(shadows, limit=2) == ["job_5", "job_4"]
    after = After(NOW + timedelta(seconds=1), "job_3")
    assert await jobs(shadows, after=after, limit=2) == ["job_2", "job_1"]


async def test_a_tenant_sees_its_own_jobs_and_of_a_version_what_is_asked_for(shadows: ShadowStore) -> None:
    pairs = [PAIR, other(tenant="evil"), other(model="vector"), other(version="3"), other(shadow_of="9")]
    await shadows.keep([hour(pair=pair, copied=number) for number, pair in enumerate(pairs, 1)])
    await shadows.keep([disagreement(f"job_{number}", pair=pair) for number, pair in enumerate(pairs, 1)])

    async def seen(asked: ShadowAsked) -> tuple[list[int], list[str]]:
        return [each.sums.copied for each in await shadows.sums(asked, NOW)], sorted(await jobs(shadows, asked))

    assert await seen(ASKED) == ([1, 5, 4], ["job_1", "job_4", "job_5"])
    assert await seen(ShadowAsked("evil", "digits")) == ([2], ["job_2"])
    assert await seen(ShadowAsked("acme", "digits", "3")) == ([4], ["job_4"])
    assert await seen(ShadowAsked("acme", "digits", None, "9")) == ([5], ["job_5"])
    assert await seen(ShadowAsked("nobody", "digits")) == ([], [])
    assert await seen(ShadowAsked("a\0", "\ud800")) == ([], [])


async def test_what_no_store_can_hold_is_refused_and_nothing_is_kept(shadows: ShadowStore) -> None:
    with pytest.raises(InvalidInput):
        await shadows.keep([hour(copied=1), hour(pair=other(tenant="\ud800"), copied=1)])
    with pytest.raises(InvalidInput):
        await shadows.keep([hour(copied=1), disagreement("job_1", answered="a\0")])
    assert await shadows.sums(ASKED, NOW) == []


async def test_after_a_week_it_goes(shared_dsn: str) -> None:
    await execute(shared_dsn, "delete from shadow_hours; delete from shadow_disagreements")
    async with PostgresShadows(shared_dsn) as shadows:
        await shadows.keep([hour(copied=1), hour(after_h=2, copied=1)])
        await shadows.keep([disagreement("old"), disagreement("new", after_s=60)])
        now = NOW + SHADOWS_KEPT + timedelta(seconds=30)
        purging = PostgresPurging(shared_dsn, DEFAULT_RETENTION)
        rows = {each.table: each.rows async for each in purging.purge(now) if each.rows}
        assert (rows.pop("shadow_hours"), rows.pop("shadow_disagreements")) == (1, 1)
        assert await jobs(shadows) == ["new"]
