"""Contract of `ResultStore`, and of canceling, which is one more way to end."""

import asyncio
from datetime import timedelta

import pytest

from schemas.jobs import Answer, Payload, Status
from schemas.topics import LaneClass
from stores.protocols import CANCELED
from tests.contracts.stores.building import FAILED, LATER, NOW, TOO_LATE, Stores, ended, failed, key_of, queued

LONG_AGO = NOW - timedelta(days=30)


async def test_a_success_keeps_the_job_and_adds_its_result(stores: Stores) -> None:
    job = await stores.inserted(metadata={"a": 1}, batch_id="batch_1", variant="canary", rows=3)
    result = Payload(b'{"outputs":[]}\x00\xff', "application/octet-stream", 14)
    assert await stores.endings.finish([ended(job, result=result)]) == [key_of(job)]
    stored = await stores.found(job)
    assert (stored.status, stored.done, stored.result, stored.error) == (Status.SUCCEEDED, True, result, None)
    assert (stored.started_at, stored.completed_at) == (NOW, LATER)
    assert (stored.metadata, stored.batch_id, stored.variant, stored.rows) == ({"a": 1}, "batch_1", "canary", 3)


async def test_a_failure_carries_its_error(stores: Stores) -> None:
    job = await stores.inserted()
    await stores.endings.finish([failed(job)])
    stored = await stores.found(job)
    assert (stored.status, stored.error, stored.result) == (Status.FAILED, FAILED, None)


async def test_an_errors_text_may_hold_anything(stores: Stores) -> None:
    job = await stores.inserted()
    error = type(FAILED)(code="inference_failed", message='NUL \0, "quotes", \\, 🙂', type="t", param="inputs[0]")
    assert await stores.endings.finish([failed(job, error=error)]) == [key_of(job)]
    assert (await stores.found(job)).error == error


async def test_a_job_never_seen_before_is_written_whole(stores: Stores) -> None:
    terminal = ended(
        queued(
            tenant="other",
            lane=LaneClass.BULK,
            rows=4,
            answer=Answer.PREDICTIONS,
            variant="canary",
            revision=7,
            cohort=0,
        ),
        result=Payload(b"1"),
    )
    assert await stores.endings.finish([terminal]) == [key_of(terminal)]
    stored = await stores.jobs.get(key_of(terminal))
    assert stored is not None
    for field in terminal.__struct_fields__:
        assert getattr(stored, field) == getattr(terminal, field), field
    assert (stored.metadata, stored.batch_id) == ({}, None)


async def test_a_job_never_seen_before_keeps_the_metadata_of_its_end_and_a_known_one_its_own(stores: Stores) -> None:
    unseen, known = queued(), await stores.inserted(metadata={"from": "submit"})
    await stores.endings.finish([ended(unseen, metadata={"a": [1, "é"]}), ended(known, metadata={"from": "end"})])
    assert (await stores.found(unseen)).metadata == {"a": [1, "é"]}
    assert (await stores.found(known)).metadata == {"from": "submit"}


async def test_a_job_tells_how_its_version_was_chosen_and_which_one_ran_it_in_the_end(stores: Stores) -> None:
    stays = await stores.inserted(version="2", variant="canary", revision=7, cohort=3, rescue_to="1")
    moved = await stores.inserted(version="2", variant="canary", revision=7, cohort=4, rescue_to="1")
    end = ended(moved, version="1", variant="stable", revision=8, moved_from="2")
    await stores.endings.finish([ended(stays, variant=None, revision=None, cohort=None), end])
    stored = await stores.found(stays)
    assert (stored.version, stored.variant, stored.revision, stored.cohort) == ("2", "canary", 7, 3)
    stored = await stores.found(moved)
    assert (stored.version, stored.variant, stored.revision, stored.cohort) == ("1", "stable", 8, 4)
    assert stored.moved_from == "2"


async def test_the_first_terminal_record_wins(stores: Stores) -> None:
    job = await stores.inserted()
    assert await stores.endings.finish([failed(job)]) == [key_of(job)]
    assert await stores.endings.finish([ended(job)]) == []
    assert (await stores.found(job)).status is Status.FAILED


async def test_the_first_terminal_record_of_a_batch_wins(stores: Stores) -> None:
    known, unseen = await stores.inserted(), queued()
    won = await stores.endings.finish([failed(known), ended(unseen), ended(known), failed(unseen)])
    assert sorted(won) == sorted([key_of(known), key_of(unseen)])
    assert (await stores.found(known)).status is Status.FAILED
    assert (await stores.found(unseen)).status is Status.SUCCEEDED


async def test_finishing_nothing_does_nothing(stores: Stores) -> None:
    assert await stores.endings.finish([]) == []


async def test_a_large_batch_is_finished_whole(stores: Stores) -> None:
    jobs = [queued() for _ in range(2500)]
    await stores.admissions.insert_new(jobs[::2])
    won = await stores.endings.finish([ended(job) for job in jobs])
    assert set(won) == {key_of(job) for job in jobs}
    assert len(won) == len(jobs)
    assert (await stores.found(jobs[-1])).status is Status.SUCCEEDED


async def test_a_batch_of_large_results_is_finished_whole(stores: Stores) -> None:
    jobs = [queued() for _ in range(10)]
    won = await stores.endings.finish([ended(job, result=Payload(b"x" * 4_000_000)) for job in jobs])
    assert len(won) == 10


async def test_of_concurrent_sinks_one_wins_each_job(stores: Stores) -> None:
    """In any order, over jobs known and unknown: neither a deadlock nor two winners."""
    jobs = [queued() for _ in range(300)]
    await stores.admissions.insert_new(jobs[::3])
    orders = [jobs, jobs[::-1], jobs[150:] + jobs[:150], jobs[::2] + jobs[1::2]]
    winners = await asyncio.gather(
        *(
            stores.endings.finish([ended(job, result=Payload(b"%d" % n)) for job in order])
            for n, order in enumerate(orders)
        )
    )
    assert sorted(key for won in winners for key in won) == sorted(map(key_of, jobs))
    for number, won in enumerate(winners):
        for key in won[:5]:
            stored = await stores.jobs.get(key)
            assert stored is not None
            assert stored.result == Payload(b"%d" % number)


async def test_what_cannot_be_stored_does_not_hold_up_its_batch(stores: Stores) -> None:
    good = [await stores.inserted() for _ in range(9)]
    bad = [
        ended(queued(tenant="a\0b")),
        ended(queued(), rows=2**40),
        ended(queued(), result=Payload(b"", "text/plain", 2**40)),
        ended(queued(), result=Payload(b"", "text/\0plain")),
        ended(queued(), variant="\ud800"),
        ended(queued(id="a\0b"), completed_at=LONG_AGO, expires_at=LONG_AGO),
    ]
    terminals = [ended(job) for job in good]
    won = await stores.endings.finish([*terminals[:4], *bad, *terminals[4:]])
    assert sorted(won) == sorted(map(key_of, good))
    for terminal in bad:
        assert await stores.jobs.get(key_of(terminal)) is None


async def test_queued_jobs_become_running(stores: Stores) -> None:
    job, other = await stores.inserted(), await stores.inserted()
    await stores.endings.mark_running([key_of(job)], NOW)
    stored = await stores.found(job)
    assert (stored.status, stored.started_at, stored.done) == (Status.RUNNING, NOW, False)
    assert await stores.found(other) == other


async def test_only_queued_jobs_become_running(stores: Stores) -> None:
    running, over, canceled, unknown = (
        await stores.inserted(),
        await stores.inserted(),
        await stores.inserted(),
        queued(),
    )
    await stores.endings.mark_running([key_of(running)], NOW)
    await stores.endings.finish([ended(over)])
    await stores.jobs.cancel(key_of(canceled), NOW)
    before = [await stores.jobs.get(key_of(job)) for job in (running, over, canceled, unknown)]
    await stores.endings.mark_running([key_of(job) for job in (running, over, canceled, unknown)], LATER)
    assert [await stores.jobs.get(key_of(job)) for job in (running, over, canceled, unknown)] == before


async def test_marking_many_at_once_from_several_sides_is_no_deadlock(stores: Stores) -> None:
    jobs = [queued() for _ in range(200)]
    await stores.admissions.insert_new(jobs)
    keys = list(map(key_of, jobs))
    await asyncio.gather(
        stores.endings.mark_running(keys, NOW),
        stores.endings.mark_running(keys[::-1], NOW),
        stores.endings.finish([ended(job) for job in jobs[::-1]]),
    )
    assert {(await stores.found(job)).status for job in jobs} == {Status.SUCCEEDED}


async def test_marking_nothing_or_what_can_be_no_job_does_nothing(stores: Stores) -> None:
    await stores.endings.mark_running([], NOW)
    await stores.endings.mark_running([key_of(queued(id="\0"))], NOW)


async def test_a_running_job_keeps_its_start_if_its_end_does_not_say(stores: Stores) -> None:
    job = await stores.inserted()
    await stores.endings.mark_running([key_of(job)], NOW)
    await stores.endings.finish([failed(job, started_at=None, error=TOO_LATE)])
    assert (await stores.found(job)).started_at == NOW


async def test_overdue_jobs_are_found_oldest_deadline_first(stores: Stores) -> None:
    deadlines = [NOW + timedelta(seconds=seconds) for seconds in (30, 10, 20, 40)]
    jobs = [await stores.inserted(expires_at=deadline, tenant=f"t{n}") for n, deadline in enumerate(deadlines)]
    await stores.endings.mark_running([key_of(jobs[2])], NOW)
    late = await stores.endings.overdue(NOW + timedelta(seconds=30), 10)
    assert [job.id for job in late] == [jobs[1].id, jobs[2].id, jobs[0].id]
    assert [job.id for job in await stores.endings.overdue(NOW + timedelta(seconds=30), 2)] == [jobs[1].id, jobs[2].id]


async def test_ended_jobs_are_never_overdue(stores: Stores) -> None:
    over, canceled = await stores.inserted(), await stores.inserted()
    await stores.endings.finish([ended(over)])
    await stores.jobs.cancel(key_of(canceled), NOW)
    assert await stores.endings.overdue(NOW + timedelta(days=9), 10) == []


@pytest.mark.parametrize("running", [False, True])
async def test_a_job_that_has_not_ended_can_be_canceled(stores: Stores, running: bool) -> None:
    job = await stores.inserted(metadata={"a": 1})
    if running:
        await stores.endings.mark_running([key_of(job)], NOW)
    canceled = await stores.jobs.cancel(key_of(job), LATER)
    assert canceled is not None
    assert canceled == await stores.found(job)
    assert (canceled.status, canceled.completed_at, canceled.error) == (Status.CANCELED, LATER, CANCELED)
    assert canceled.metadata == {"a": 1}
    assert canceled.started_at == (NOW if running else None)


async def test_canceling_an_ended_job_returns_it_as_it_had_ended(stores: Stores) -> None:
    job = await stores.inserted()
    await stores.endings.finish([ended(job)])
    before = await stores.found(job)
    assert await stores.jobs.cancel(key_of(job), LATER) == before
    assert await stores.found(job) == before


async def test_canceling_twice_changes_nothing(stores: Stores) -> None:
    job = await stores.inserted()
    first = await stores.jobs.cancel(key_of(job), NOW)
    assert await stores.jobs.cancel(key_of(job), LATER) == first


async def test_canceling_an_unknown_job_finds_nothing(stores: Stores) -> None:
    assert await stores.jobs.cancel(key_of(queued()), NOW) is None


async def test_a_canceled_job_stays_canceled(stores: Stores) -> None:
    job = await stores.inserted()
    await stores.jobs.cancel(key_of(job), NOW)
    assert await stores.endings.finish([ended(job)]) == []
    assert (await stores.found(job)).status is Status.CANCELED


async def test_of_cancel_and_finish_one_wins_and_both_agree(stores: Stores) -> None:
    jobs = [await stores.inserted() for _ in range(40)]
    async with asyncio.TaskGroup() as group:
        cancels = [group.create_task(stores.jobs.cancel(key_of(job), LATER)) for job in jobs]
        finishes = [group.create_task(stores.endings.finish([ended(job)])) for job in jobs]
    for job, cancel, finish in zip(jobs, cancels, finishes, strict=True):
        stored = await stores.found(job)
        assert cancel.result() == stored
        assert finish.result() == ([key_of(job)] if stored.status is Status.SUCCEEDED else [])
