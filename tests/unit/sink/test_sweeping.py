"""Inputs in the blob store go once the store does not know their jobs any more."""

from datetime import timedelta

import pytest

from schemas.claims import claim_key
from schemas.errors import StoreUnavailable
from schemas.jobs import queued_before
from stores.memory import MemoryJobs
from stores.memory_blobs import MemoryBlobs
from tests.unit.sink.ends import NOW, succeeded
from workers.sink.sweeping import GROUP, sweep_once

SHA256 = "ab" * 32
LATER = NOW + timedelta(days=1, seconds=1)


def key_of(job_id: str) -> str:
    return claim_key("default", NOW, job_id, "input", SHA256)


async def test_only_claims_of_unknown_jobs_older_than_a_day_go() -> None:
    now = NOW
    blobs, jobs = MemoryBlobs(lambda: now), MemoryJobs(lambda: NOW)
    await jobs.insert_new([queued_before(succeeded("a:known~job.1"))])
    await blobs.put(key_of("a:known~job.1"), b"1")
    await blobs.put("files/file_1", b"2")
    await blobs.put("claims/notes", b"3")
    for number in range(GROUP + 1):
        await blobs.put(key_of(f"gone-{number}"), b"4")
    assert await sweep_once(blobs, jobs, lambda: NOW + timedelta(hours=23), rest_s=0) == 0
    now = LATER - timedelta(hours=1)
    await blobs.put(key_of("fresh"), b"5")

    assert await sweep_once(blobs, jobs, lambda: LATER, rest_s=0) == GROUP + 1

    assert set(blobs.blobs) == {key_of("a:known~job.1"), key_of("fresh"), "files/file_1", "claims/notes"}


async def test_nothing_goes_while_the_store_cannot_be_asked() -> None:
    blobs, jobs = MemoryBlobs(lambda: NOW), MemoryJobs(lambda: NOW)
    await blobs.put(key_of("one"), b"1")
    jobs.down = True
    with pytest.raises(StoreUnavailable):
        await sweep_once(blobs, jobs, lambda: LATER, rest_s=0)
    assert set(blobs.blobs) == {key_of("one")}
