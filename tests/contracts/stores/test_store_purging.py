"""Contract of `Purging`: what is kept for how long, and what the store says of it afterwards."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.errors import JobNotFound
from schemas.jobs import Job, Status
from tests.contracts.stores.building import NOW, Clock, Stores, ended, failed, id_of, idempotency, key_of, queued

WEEK = timedelta(days=7)
DAY = timedelta(days=1)


@pytest.fixture(params=["dated", "undated"])
def id_at(request: pytest.FixtureRequest) -> "type[DatedId] | type[UndatedId]":
    """Jobs whose ids tell when they were made, and those of direct producers."""
    return DatedId if request.param == "dated" else UndatedId


class DatedId:
    @staticmethod
    def at(moment: datetime) -> str:
        return id_of(moment)


class UndatedId:
    @staticmethod
    def at(moment: datetime) -> str:
        return f"requests-0-{moment.timestamp()}"


async def made(stores: Stores, ids: type[DatedId | UndatedId], moment: datetime = NOW, **fields: object) -> Job:
    """A job that was made, and stands in the store, since that moment."""
    expires_at = moment + timedelta(minutes=10)
    return await stores.inserted(id=ids.at(moment), created_at=moment, expires_at=expires_at, **fields)


async def test_an_ended_job_goes_within_a_day_of_its_time_and_no_sooner(
    stores: Stores, id_at: type[DatedId | UndatedId]
) -> None:
    job = await made(stores, id_at)
    await stores.endings.finish([ended(job, completed_at=NOW)])
    await stores.purge(NOW + WEEK - timedelta(seconds=1))
    assert (await stores.found(job)).status is Status.SUCCEEDED

    assert await stores.purge(NOW + WEEK + DAY) == {"jobs": 1}
    assert await stores.jobs.get(key_of(job)) is None
    assert await stores.jobs.list("default", after=None, limit=10, status=None) == []
    assert await stores.jobs.cancel(key_of(job), NOW) is None
    with pytest.raises(JobNotFound):
        await stores.jobs.list("default", after=job.id, limit=10, status=None)


async def test_a_job_that_has_not_ended_is_never_purged(stores: Stores, id_at: type[DatedId | UndatedId]) -> None:
    jobs = [await made(stores, id_at, NOW + timedelta(seconds=seconds)) for seconds in range(3)]
    await stores.endings.mark_running([key_of(jobs[1])], NOW)
    await stores.endings.finish([ended(jobs[2], completed_at=NOW)])
    assert await stores.purge(NOW + 3 * WEEK) == {"jobs": 1}
    assert [(await stores.found(job)).status for job in jobs[:2]] == [Status.QUEUED, Status.RUNNING]

    await stores.endings.finish([ended(jobs[0], completed_at=NOW + 3 * WEEK)])
    await stores.purge(NOW + 4 * WEEK - timedelta(seconds=1))
    assert (await stores.found(jobs[0])).done


async def test_a_job_with_a_time_of_its_own_goes_at_that_time(stores: Stores, id_at: type[DatedId | UndatedId]) -> None:
    short = await made(stores, id_at, NOW, retention_s=60)
    long = await made(stores, id_at, NOW + timedelta(seconds=1), retention_s=30 * 86_400)
    usual = await made(stores, id_at, NOW + timedelta(seconds=2))
    await stores.endings.finish([ended(job, completed_at=NOW) for job in (short, long, usual)])
    assert (await stores.found(short)).keep_until == NOW + timedelta(seconds=60)
    assert (await stores.found(usual)).keep_until is None

    assert await stores.purge(NOW + timedelta(seconds=59)) == {}
    assert await stores.purge(NOW + timedelta(seconds=60)) == {"jobs": 1}
    assert await stores.jobs.get(key_of(short)) is None
    assert await stores.purge(NOW + WEEK + DAY) == {"jobs": 1}
    assert await stores.jobs.get(key_of(usual)) is None
    assert (await stores.found(long)).keep_until == NOW + timedelta(days=30)
    assert await stores.purge(NOW + timedelta(days=30)) == {"jobs": 1}


async def test_how_long_a_job_is_kept_counts_from_its_end_whoever_ends_it(stores: Stores) -> None:
    ended_by_record, canceled, unsaid = [await stores.inserted(retention_s=3600) for _ in range(3)]
    end = NOW + timedelta(seconds=7, microseconds=5)
    await stores.endings.finish([ended(ended_by_record, completed_at=end)])
    await stores.jobs.cancel(key_of(canceled), end)
    await stores.endings.finish([failed(unsaid, completed_at=end, retention_s=None)])  # a worker of an older version
    for job in (ended_by_record, canceled, unsaid):
        stored = await stores.found(job)
        assert (stored.retention_s, stored.keep_until) == (3600, end + timedelta(hours=1))


async def test_an_end_beyond_all_calendars_keeps_nobody_from_reading_it(stores: Stores) -> None:
    job = await stores.inserted(retention_s=3600)
    end = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    await stores.endings.finish([ended(job, completed_at=end, retention_s=None)])
    (listed,) = await stores.jobs.list("default", after=None, limit=10, status=None)
    for stored in (await stores.found(job), listed):
        assert stored.keep_until is not None
        assert end < stored.keep_until <= datetime.max.replace(tzinfo=UTC)


async def test_an_open_job_keeps_what_was_asked_for(stores: Stores) -> None:
    job = await stores.inserted(retention_s=3600)
    assert await stores.found(job) == job


async def test_the_end_of_a_job_that_was_purged_does_not_bring_it_back(
    stores: Stores, clock: Clock, id_at: type[DatedId | UndatedId]
) -> None:
    job = await made(stores, id_at)
    end = ended(job, completed_at=NOW)
    await stores.endings.finish([end])
    clock.forward(days=8)
    await stores.purge(clock())
    assert await stores.endings.finish([end]) == []
    assert await stores.jobs.get(key_of(job)) is None


async def test_an_end_that_comes_late_still_ends_its_job(stores: Stores, clock: Clock) -> None:
    """Promised: every job ends, however long the sink was away."""
    job, unknown = await stores.inserted(), queued()
    clock.forward(days=8)
    assert await stores.endings.finish([ended(job), ended(unknown)]) == [key_of(job)]
    assert (await stores.found(job)).status is Status.SUCCEEDED


async def test_a_key_whose_job_was_purged_does_not_run_it_again(stores: Stores, clock: Clock) -> None:
    job = queued(retention_s=60)
    await stores.admissions.insert(job, idempotency())
    await stores.admissions.confirm(job, idempotency())
    await stores.endings.finish([ended(job, completed_at=clock())])
    clock.forward(minutes=2)
    assert await stores.purge(clock()) == {"jobs": 1}
    with pytest.raises(JobNotFound, match="kept no longer"):
        await stores.admissions.insert(queued(), idempotency())
    with pytest.raises(JobNotFound, match="kept no longer"):
        await stores.admissions.recall("default", idempotency())
    clock.forward(days=1)
    await stores.purge(clock())
    new = queued()
    assert (await stores.admissions.insert(new, idempotency())).job == new


async def test_the_oldest_end_is_told(stores: Stores, id_at: type[DatedId | UndatedId]) -> None:
    assert await stores.purging.oldest_end() is None
    for days in (2, 1, 3):
        job = await made(stores, id_at, NOW + timedelta(days=days))
        await stores.endings.finish([ended(job, completed_at=NOW + timedelta(days=days))])
    await made(stores, id_at, NOW)
    assert await stores.purging.oldest_end() == NOW + timedelta(days=1)
