"""Contract of `Jobs`: get and list."""

import asyncio
from datetime import timedelta
from operator import attrgetter

import msgspec
import pytest

from schemas.errors import JobNotFound
from schemas.jobs import Payload, Status
from stores.protocols import INLINE_RESULT_BYTES, JobKey
from tests.contracts.stores.building import LATER, NOW, Stores, ended, failed, key_of, queued


async def test_an_unknown_job_is_not_found(stores: Stores) -> None:
    assert await stores.jobs.get(JobKey("default", "job_unknown")) is None


@pytest.mark.parametrize("text", ["\0", "job\0", "\ud800"])
async def test_what_can_be_no_id_is_not_found(stores: Stores, text: str) -> None:
    job = await stores.inserted()
    async with asyncio.TaskGroup() as group:
        odd = [group.create_task(stores.jobs.get(JobKey("default", text))) for _ in range(3)]
        sound = group.create_task(stores.jobs.get(key_of(job)))
    assert [task.result() for task in odd] == [None, None, None]
    assert sound.result() == job
    assert await stores.jobs.get(JobKey(text, job.id)) is None
    assert await stores.jobs.cancel(JobKey("default", text), NOW) is None
    assert await stores.jobs.list(text, after=None, limit=10, status=None) == []


async def test_a_job_of_another_tenant_is_not_found(stores: Stores) -> None:
    job = await stores.inserted(tenant="ours")
    assert await stores.jobs.get(JobKey("theirs", job.id)) is None
    assert await stores.jobs.cancel(JobKey("theirs", job.id), NOW) is None
    assert await stores.jobs.list("theirs", after=None, limit=10, status=None) == []
    assert await stores.found(job) == job


async def test_many_concurrent_reads_each_get_their_job(stores: Stores) -> None:
    jobs = [await stores.inserted(rows=number + 1) for number in range(20)]
    wanted = [jobs[number % 20] for number in range(400)]
    assert await asyncio.gather(*(stores.jobs.get(key_of(job)) for job in wanted)) == wanted


@pytest.mark.parametrize("size_bytes", [0, 1, 2_500, 64 * 1024, 64 * 1024 + 1, 5 * 1024 * 1024])
async def test_results_of_every_size_come_back_byte_for_byte(stores: Stores, size_bytes: int) -> None:
    result = Payload((bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes], "application/octet-stream", 12)
    job = await stores.inserted()
    await stores.endings.finish([ended(job, result=result)])
    assert (await stores.found(job)).result == result


async def test_large_and_small_results_are_read_together(stores: Stores) -> None:
    jobs = [await stores.inserted() for _ in range(6)]
    sizes_bytes = [10, 200_000, 10, 1_000_000, 10, 10]
    results = [Payload(bytes([number]) * size) for number, size in enumerate(sizes_bytes)]
    await stores.endings.finish([ended(job, result=result) for job, result in zip(jobs, results, strict=True)])
    read = await asyncio.gather(*(stores.jobs.get(key_of(job)) for job in jobs))
    assert [job and job.result for job in read] == results


@pytest.mark.parametrize(("size_bytes", "shown"), [(INLINE_RESULT_BYTES, True), (INLINE_RESULT_BYTES + 1, False)])
async def test_a_glance_shows_a_job_without_a_result_that_is_large(
    stores: Stores, size_bytes: int, *, shown: bool
) -> None:
    job = await stores.inserted()
    await stores.endings.finish([ended(job, result=Payload(bytes(size_bytes)))])
    seen = await stores.jobs.glance(key_of(job))
    whole = await stores.found(job)
    assert seen == (whole if shown else msgspec.structs.replace(whole, result=None))
    assert await stores.jobs.glance(JobKey("theirs", job.id)) is None
    assert await stores.jobs.glance(JobKey("default", "\0")) is None


async def test_lists_go_from_the_newest_to_the_oldest_whatever_their_ids(stores: Stores) -> None:
    for job_id, age_s in (("job_1", 30), ("requests-0-7", 20), ("job_2", 10), ("a", 5), ("job_3", 0)):
        await stores.inserted(id=job_id, created_at=NOW - timedelta(seconds=age_s))
    listed = await stores.jobs.list("default", after=None, limit=10, status=None)
    assert [job.id for job in listed] == ["job_3", "a", "job_2", "requests-0-7", "job_1"]
    rest = await stores.jobs.list("default", after="a", limit=2, status=None)
    assert [job.id for job in rest] == ["job_2", "requests-0-7"]


async def test_jobs_of_one_moment_are_ordered_by_their_ids_characters_codes(stores: Stores) -> None:
    for job_id in ("b", "B", "a", "_", "~", "ab", "é", "1"):
        await stores.inserted(id=job_id)
    listed = await stores.jobs.list("default", after=None, limit=10, status=None)
    assert [job.id for job in listed] == ["é", "~", "b", "ab", "a", "_", "B", "1"]


@pytest.mark.parametrize("at_one_moment", [True, False])
async def test_pages_follow_each_other_without_gap_or_repetition(stores: Stores, *, at_one_moment: bool) -> None:
    apart = timedelta(0) if at_one_moment else timedelta(microseconds=1)
    jobs = [await stores.inserted(created_at=NOW + number * apart) for number in range(25)]
    pages, after = [], None
    while page := await stores.jobs.list("default", after=after, limit=10, status=None):
        pages.append(page)
        after = page[-1].id
    assert [len(page) for page in pages] == [10, 10, 5]
    newest_first = sorted(jobs, key=attrgetter("created_at", "id"), reverse=True)
    assert [job.id for page in pages for job in page] == [job.id for job in newest_first]


async def test_a_cursor_that_is_no_job_of_the_tenant_is_not_found(stores: Stores) -> None:
    await stores.inserted()
    gone = await stores.inserted()
    await stores.admissions.withdraw(gone)
    theirs = await stores.inserted(tenant="theirs")
    for after in (gone.id, theirs.id, "\0", "\ud800"):
        with pytest.raises(JobNotFound) as refused:
            await stores.jobs.list("default", after=after, limit=10, status=None)
        assert refused.value.param == "after"


@pytest.mark.parametrize("status", list(Status))
async def test_lists_can_be_narrowed_to_one_status(stores: Stores, status: Status) -> None:
    waiting, running, succeeded, lost, canceled = [await stores.inserted() for _ in range(5)]
    await stores.endings.mark_running([key_of(running)], NOW)
    await stores.endings.finish([ended(succeeded), failed(lost)])
    await stores.jobs.cancel(key_of(canceled), NOW)
    by_status = dict(zip(Status, (waiting, running, succeeded, lost, canceled), strict=True))
    listed = await stores.jobs.list("default", after=None, limit=10, status=status)
    assert [(job.id, job.status) for job in listed] == [(by_status[status].id, status)]
    assert await stores.jobs.list("default", after=by_status[status].id, limit=10, status=status) == []


async def test_lists_carry_everything_but_results(stores: Stores) -> None:
    job = await stores.inserted(metadata={"a": 1}, variant="canary")
    await stores.endings.finish([ended(job)])
    (listed,) = await stores.jobs.list("default", after=None, limit=10, status=None)
    assert listed.result is None
    assert listed.metadata == {"a": 1}
    assert listed.variant == "canary"
    assert listed.completed_at == LATER


async def test_lists_of_nothing_are_empty(stores: Stores) -> None:
    assert await stores.jobs.list("default", after=None, limit=10, status=None) == []
    await stores.inserted()
    assert await stores.jobs.list("default", after=None, limit=0, status=None) == []


async def test_times_keep_their_microseconds(stores: Stores) -> None:
    job = queued()
    await stores.admissions.insert(job)
    stored = await stores.found(job)
    assert stored.created_at == NOW
    assert stored.created_at.utcoffset() is not None
