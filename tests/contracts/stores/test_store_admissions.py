"""Contract of `Admissions`, without idempotency keys."""

import asyncio

import msgspec
import pytest

from schemas.errors import InvalidInput
from schemas.jobs import Answer, Status
from schemas.topics import LaneClass
from stores.protocols import IdempotencyKey, JobKey
from tests.contracts.stores.building import NOW, Stores, ended, failed, key_of, queued


async def test_an_inserted_job_comes_back_as_it_was_given(stores: Stores) -> None:
    job = queued(
        lane=LaneClass.BULK,
        rows=7,
        answer=Answer.PREDICTIONS,
        variant="canary",
        revision=7,
        cohort=99,
        rescue_to="1",
        moved_from="3",
        batch_id="batch_1",
        metadata={"user": {"plan": "trial"}, "z": 1, "a": [1.5, None, True], "big": 2**63, "tiny": 1e-300},
        webhook='https://example.com/hooks?of="a",{b}',
        webhook_events=("job.running", "job.failed"),
    )
    admission = await stores.admissions.insert(job)
    assert not admission.replayed
    assert admission.job == job
    assert await stores.jobs.get(key_of(job)) == job


@pytest.mark.parametrize("events", [None, ("job.succeeded",)])
async def test_a_webhook_stays_with_its_job_on_every_way_into_the_store_and_to_its_end(
    stores: Stores, events: tuple[str, ...] | None
) -> None:
    told = {"webhook": "https://example.com/", "webhook_events": events}
    inserted, keyed, new, untold = queued(**told), queued(**told), queued(id="shop-17", **told), queued()
    await stores.admissions.insert(inserted)
    await stores.admissions.insert(keyed, IdempotencyKey("a key", b"\1"))
    await stores.admissions.insert_new([new, untold])

    jobs = [inserted, keyed, new, untold]
    assert [await stores.found(job) for job in jobs] == jobs
    await stores.endings.finish([ended(job) for job in jobs])
    found = [await stores.found(job) for job in jobs]
    assert [job.done for job in found] == [True] * 4
    assert [(job.webhook, job.webhook_events) for job in found] == [(job.webhook, job.webhook_events) for job in jobs]


async def test_jobs_with_and_without_a_webhook_are_written_together(stores: Stores) -> None:
    told = {"webhook": "https://example.com/", "webhook_events": ("job.failed",)}
    jobs = [queued(**(told if number % 3 == 0 else {})) for number in range(30)]
    keys = [IdempotencyKey(f"key {number}", b"\1") if number % 2 else None for number in range(30)]
    await asyncio.gather(*map(stores.admissions.insert, jobs, keys))
    new = [queued(), queued(**told)]
    await stores.admissions.insert_new(new)
    assert [await stores.found(job) for job in [*jobs, *new]] == [*jobs, *new]


async def test_admitted_jobs_are_found_by_their_keys_and_others_are_not(stores: Stores) -> None:
    job, other = await stores.inserted(webhook="https://example.com/"), await stores.inserted(id="shop-18")
    missing = JobKey("nobody", job.id)
    assert await stores.admissions.admitted([key_of(job), missing, JobKey("a\0", "b"), key_of(other)]) == {
        key_of(job): job,
        key_of(other): other,
    }
    assert await stores.admissions.admitted([]) == {}


async def test_metadata_keeps_its_order_and_every_character(stores: Stores) -> None:
    metadata = {"ž": "čeština", "b": "日本語", "a": "🙂", "nul": "\0", "quote": '"\\'}
    job = await stores.inserted(metadata=metadata)
    stored = (await stores.found(job)).metadata
    assert stored == metadata
    assert list(stored) == list(metadata)


@pytest.mark.parametrize("metadata", [{"n": 2**64}, {"half": "\ud800"}, {"what": object()}, {1: "one"}])
async def test_metadata_that_is_no_json_is_refused_by_name(stores: Stores, metadata: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await stores.admissions.insert(queued(metadata=metadata))
    assert refused.value.param == "metadata"


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d of a pair"])
async def test_a_name_that_no_store_can_hold_is_refused(stores: Stores, text: str) -> None:
    for field in ("tenant", "id", "model", "version", "variant", "rescue_to", "moved_from", "batch_id", "webhook"):
        with pytest.raises(InvalidInput):
            await stores.admissions.insert(queued(**{"revision": 1, field: text}))


async def test_a_refused_job_does_not_hurt_those_inserted_with_it(stores: Stores) -> None:
    good = [queued() for _ in range(20)]
    bad = [queued(variant="\0"), queued(metadata={"n": 2**70}), queued(metadata={"half": "\udfff"})]
    mixed = [*good[:10], *bad, *good[10:]]
    outcomes = await asyncio.gather(*map(stores.admissions.insert, mixed), return_exceptions=True)
    refused = [job for job, outcome in zip(mixed, outcomes, strict=True) if isinstance(outcome, InvalidInput)]
    assert refused == bad
    assert [await stores.jobs.get(key_of(job)) for job in good] == good


async def test_many_jobs_inserted_at_once_all_stand_there(stores: Stores) -> None:
    jobs = [queued(rows=number + 1) for number in range(500)]
    admissions = await asyncio.gather(*map(stores.admissions.insert, jobs))
    assert [admission.job for admission in admissions] == jobs
    assert await asyncio.gather(*(stores.jobs.get(key_of(job)) for job in jobs)) == jobs


async def test_a_known_job_id_is_replayed_and_left_alone(stores: Stores) -> None:
    job = await stores.inserted(rows=3)
    await stores.endings.finish([ended(job)])
    again = await stores.admissions.insert(msgspec.structs.replace(job, rows=99))
    assert again.replayed
    assert again.job == await stores.found(job)
    assert again.job.status is Status.SUCCEEDED
    assert again.job.rows == 3


async def test_one_job_inserted_many_times_at_once_is_new_once(stores: Stores) -> None:
    job = queued()
    admissions = await asyncio.gather(*(stores.admissions.insert(job) for _ in range(50)))
    assert sorted(admission.replayed for admission in admissions) == [False] + [True] * 49


async def test_the_same_id_of_two_tenants_is_two_jobs(stores: Stores) -> None:
    ours = await stores.inserted(tenant="ours", id="same", rows=1)
    theirs = await stores.inserted(tenant="theirs", id="same", rows=2)
    assert await stores.found(ours) == ours
    assert await stores.found(theirs) == theirs


async def test_insert_new_writes_the_new_jobs_and_leaves_the_known(stores: Stores) -> None:
    known = await stores.inserted(rows=1)
    over = queued()
    await stores.endings.finish([ended(over)])
    new = queued(rows=2)
    await stores.admissions.insert_new([msgspec.structs.replace(known, rows=9), over, new, new])
    assert await stores.found(known) == known
    assert (await stores.found(over)).status is Status.SUCCEEDED
    assert await stores.found(new) == new


async def test_insert_new_of_nothing_does_nothing(stores: Stores) -> None:
    await stores.admissions.insert_new([])


async def test_insert_new_leaves_out_only_what_cannot_be_stored(stores: Stores) -> None:
    good = [queued() for _ in range(7)]
    bad = [queued(tenant="\0"), queued(metadata={"n": 2**70}), queued(rows=2**40)]
    await stores.admissions.insert_new([*good[:3], *bad[:2], *good[3:], bad[2]])
    assert [await stores.jobs.get(key_of(job)) for job in good] == good
    assert [await stores.jobs.get(key_of(job)) for job in bad] == [None, None, None]


async def test_a_withdrawn_job_is_gone(stores: Stores) -> None:
    job, other = await stores.inserted(), await stores.inserted()
    await stores.admissions.withdraw(job)
    assert await stores.jobs.get(key_of(job)) is None
    assert await stores.found(other) == other
    assert await stores.jobs.list("default", after=None, limit=10, status=None) == [other]


async def test_only_a_queued_job_can_be_withdrawn(stores: Stores) -> None:
    running, succeeded, lost, canceled = [await stores.inserted() for _ in range(4)]
    await stores.endings.mark_running([key_of(running)], NOW)
    await stores.endings.finish([ended(succeeded), failed(lost)])
    await stores.jobs.cancel(key_of(canceled), NOW)
    for job in (running, succeeded, lost, canceled):
        await stores.admissions.withdraw(job)
    statuses = [(await stores.found(job)).status for job in (running, succeeded, lost, canceled)]
    assert statuses == [Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.CANCELED]


async def test_withdrawing_an_unknown_job_does_nothing(stores: Stores) -> None:
    await stores.admissions.withdraw(queued())
