"""Contract of `Jobs.search`: what is found, and where a search that stopped short goes on."""

from datetime import timedelta

import pytest

from schemas.errors import JobNotFound
from schemas.jobs import Status
from schemas.topics import LaneClass
from stores.protocols import JobFilter, JobPage
from tests.contracts.stores.building import NOW, Stores, failed


async def fill(stores: Stores) -> None:
    """Five jobs, a second apart; `a` is the newest."""
    for job_id, model, version, lane in (
        ("a", "digits", "1", LaneClass.LIVE),
        ("b", "digits", "2", LaneClass.LIVE),
        ("c", "other", "1", LaneClass.BULK),
        ("d", "digits", "1", LaneClass.BULK),
        ("e", "digits", "1", LaneClass.LIVE),
    ):
        age = timedelta(seconds=ord(job_id) - ord("a"))
        await stores.inserted(id=job_id, model=model, version=version, lane=lane, created_at=NOW - age)


def ids(page: JobPage) -> str:
    return "".join(job.id for job in page.jobs)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (JobFilter(), "abcde"),
        (JobFilter(model="digits"), "abde"),
        (JobFilter(model="digits", version="1"), "ade"),
        (JobFilter(version="1"), "acde"),
        (JobFilter(lane=LaneClass.BULK), "cd"),
        (JobFilter(model="digits", lane=LaneClass.LIVE, status=Status.QUEUED), "abe"),
        (JobFilter(created_after=NOW - timedelta(seconds=2)), "ab"),
        (JobFilter(created_before=NOW - timedelta(seconds=2)), "de"),
        (JobFilter(created_after=NOW - timedelta(seconds=4), created_before=NOW), "bcd"),
        (JobFilter(model="digits", status=Status.FAILED), ""),
        (JobFilter(model="\0"), ""),
        (JobFilter(version="\ud800"), ""),
    ],
)
async def test_jobs_are_found_by_all_that_is_asked_for(stores: Stores, wanted: JobFilter, found: str) -> None:
    await fill(stores)
    page = await stores.jobs.search("default", wanted, after=None, limit=10)
    assert (ids(page), page.next_after) == (found, None)
    assert not (await stores.jobs.search("theirs", wanted, after=None, limit=10)).jobs


async def test_failed_jobs_of_a_model_are_found(stores: Stores) -> None:
    await fill(stores)
    job = await stores.inserted(model="digits")
    await stores.endings.finish([failed(job)])
    page = await stores.jobs.search("default", JobFilter(Status.FAILED, "digits"), after=None, limit=10)
    assert [found.id for found in page.jobs] == [job.id]
    assert page.jobs[0].error is not None


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_of_a_search_follow_each_other_without_gap_or_repetition(stores: Stores, limit: int) -> None:
    vars(stores.jobs)["_most_looked_at"] = 4
    for number in range(20):
        model = "rare" if number in (3, 9, 10, 11, 19) else "digits"
        await stores.inserted(id=f"{number:02}", model=model, created_at=NOW - timedelta(seconds=number))
    found, after, pages = [], None, 0
    while True:
        page = await stores.jobs.search("default", JobFilter(model="rare"), after=after, limit=limit)
        assert len(page.jobs) <= limit
        found += [job.id for job in page.jobs]
        pages, after = pages + 1, page.next_after
        if after is None:
            break
    assert found == ["03", "09", "10", "11", "19"]
    assert pages <= 20 / 4 + 5 / limit + 1


async def test_a_search_begins_after_a_job_that_is_there(stores: Stores) -> None:
    await fill(stores)
    page = await stores.jobs.search("default", JobFilter(version="1"), after="c", limit=10)
    assert ids(page) == "de"
    with pytest.raises(JobNotFound):
        await stores.jobs.search("default", JobFilter(version="1"), after="z", limit=10)
