"""A feeder on Postgres and a folder of blobs: killed wherever it writes, canceled and too late."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from schemas.batches import Batch, BatchStatus, Counts, PartKind
from schemas.errors import DeadlineExceeded
from schemas.jobs import Job, Terminal, failed_end
from stores.batches import Lead, LeadLost
from stores.objects import ObjectBlobs
from stores.postgres import PostgresJobs, PostgresResults
from stores.postgres.batches.batches import PostgresBatches
from stores.postgres.batches.files import PostgresFiles
from stores.postgres.batches.work import PostgresBatchWork
from stores.protocols import JobKey
from tests.unit.feeder.house import House, Killed, answers, keys_of, line
from tests.unit.feeder.killing import Cut, Killer
from tests.unit.inference.models import Adder

LINES = 2200


class JobsThere:
    """What a feeder and a sink ask of the jobs' store."""

    def __init__(self, jobs: PostgresJobs, results: PostgresResults) -> None:
        self._jobs = jobs
        self._results = results

    async def get(self, key: JobKey) -> Job | None:
        return await self._jobs.get(key)

    async def cancel(self, key: JobKey, now: datetime) -> Job | None:
        return await self._jobs.cancel(key, now)

    async def finish(self, ends: Sequence[Terminal]) -> Sequence[JobKey]:
        return await self._results.finish(ends)

    async def overdue(self, now: datetime, limit: int) -> Sequence[Job]:
        return await self._results.overdue(now, limit)


class OnServices(House):
    """Its lane is in memory, all else is there."""

    async def open(self, stack: AsyncExitStack, dsn: str, folder: Path) -> None:
        found: dict[str, Any] = {
            "blobs": await stack.enter_async_context(ObjectBlobs(f"file://{folder}")),
            "files": await stack.enter_async_context(PostgresFiles(dsn, connections=2)),
            "batches": await stack.enter_async_context(PostgresBatches(dsn, connections=2)),
            "work": await stack.enter_async_context(PostgresBatchWork(dsn)),
            "jobs": JobsThere(
                await stack.enter_async_context(PostgresJobs(dsn)),
                await stack.enter_async_context(PostgresResults(dsn)),
            ),
        }
        vars(self).update(found)
        self.now = datetime.now(UTC)
        self.feeder = self.new_feeder()

    async def batch_now(self, batch_id: str) -> Batch:
        batch = await self.batches.get("default", batch_id)
        assert batch is not None
        return batch


@pytest.fixture
async def house(migrated_postgres_dsn: str, tmp_path: Path) -> AsyncIterator[OnServices]:
    async with AsyncExitStack() as stack:
        house = OnServices(Adder(poison=frozenset([3.0])))
        await house.open(stack, migrated_postgres_dsn, tmp_path)
        yield house


async def ends_of(house: House, batch: Batch) -> tuple[dict[str, list[float]], list[str]]:
    outputs, errors = await house.outputs(batch)
    assert sorted([*keys_of(outputs), *keys_of(errors)]) == sorted(f"line-{number}" for number in range(LINES))
    told = answers(outputs)
    assert all(doubles == [2 * float(name.removeprefix("line-"))] for name, doubles in told.items())
    return told, keys_of(errors)


@pytest.mark.parametrize("after", [False, True])
async def test_each_line_has_one_end_wherever_the_feeder_is_killed(house: OnServices, after: bool) -> None:
    # Given feeders that are killed at their first call that writes, at their second, and so on, each with a batch
    for at in count(1):
        batch_id = await house.batch(line(number) for number in range(LINES))
        killer = Killer(at, after=after)
        house.feeder = house.new_feeder(Cut(house.work, killer), Cut(house.blobs, killer), Cut(house.log, killer))
        with suppress(Killed):
            await house.until_ended(batch_id, most=1)
            break

        # When another one goes on, then each line has one end
        house.feeder = house.new_feeder()
        await check_whole(house, await house.until_ended(batch_id))
    assert at > 10


async def check_whole(house: OnServices, batch: Batch) -> None:
    told, errors = await ends_of(house, batch)
    assert batch.counts == Counts(total=LINES, completed=LINES - 1, failed=1)
    assert (len(told), errors) == (LINES - 1, ["line-3"])
    left = [entry.key async for entry in house.blobs.entries(f"batches/default/{batch.id}")]
    assert len(left) == len(set(left)) > 0
    listed = [part.key for kind in PartKind for part in await house.batches.parts(batch.id, kind, after=-1, limit=1000)]
    assert sorted(left) == sorted(listed), "no part is left that nobody listed"


async def test_what_has_no_end_by_the_deadline_expires(house: OnServices) -> None:
    batch_id = await house.batch(line(number) for number in range(LINES))
    await house.step()
    await house.step()
    await house.work_off(1)
    await house.step()
    house.now += timedelta(days=1)
    late = DeadlineExceeded("late")
    await house.jobs.finish([failed_end(job, late, house.now) for job in await house.jobs.overdue(house.now, 100)])
    batch = await house.until_ended(batch_id)
    told, errors = await ends_of(house, batch)
    assert batch.status is BatchStatus.EXPIRED
    assert (batch.counts.completed, batch.counts.failed, batch.counts.expired) == (999, 1, 1200)
    assert (len(told), len(errors)) == (999, 1201)


async def test_what_is_cancelled_keeps_what_has_ended(house: OnServices) -> None:
    batch_id = await house.batch(line(number) for number in range(LINES))
    await house.step()
    await house.step()
    await house.work_off(1)
    await house.step()
    await house.batches.cancel("default", batch_id, house.now)
    batch = await house.until_ended(batch_id)
    told, errors = await ends_of(house, batch)
    assert (batch.status, batch.counts.completed, batch.counts.cancelled) == (BatchStatus.CANCELLED, 999, 1200)
    assert (len(told), len(errors)) == (999, 1201)
    jobs = [await house.jobs.get(JobKey(job.tenant, job.id)) for job in house.jobs_sent]
    assert [job.status for job in jobs if job is not None] == ["succeeded", "canceled", "canceled"]


async def test_who_lost_the_lease_writes_nothing_more(house: OnServices) -> None:
    batch_id = await house.batch(line(number) for number in range(LINES))
    await house.step()
    await house.step()
    await house.work_off()
    old, stopped = house.lead, house.feeder
    await house.work.leave(old)
    house.lead = Lead("two")
    house.feeder = house.new_feeder()
    assert await house.work.lead("two")
    stopped.tell_done([JobKey(job.tenant, job.id) for job in house.jobs_sent])
    with pytest.raises(LeadLost):
        await stopped.step(old)
    batch = await house.until_ended(batch_id)
    await ends_of(house, batch)
    with suppress(LeadLost):
        await stopped.step(old)
    assert await house.batch_now(batch_id) == batch
