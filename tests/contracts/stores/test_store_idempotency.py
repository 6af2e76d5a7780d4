"""Contract of `Admissions` with idempotency keys."""

import asyncio

import msgspec
import pytest

from schemas.errors import IdempotencyMismatch, InvalidInput, JobNotFound, RequestInFlight
from schemas.jobs import Job, Payload, Status
from stores.protocols import Admission
from tests.contracts.stores.building import NOW, Clock, Stores, ended, idempotency, key_of, queued


async def test_a_new_key_admits_the_job(stores: Stores) -> None:
    job = queued(metadata={"a": 1})
    assert await stores.admissions.insert(job, idempotency()) == Admission(job, replayed=False)
    assert await stores.found(job) == job


async def test_an_answered_request_is_replayed(stores: Stores) -> None:
    first = queued(rows=1)
    await stores.admissions.insert(first, idempotency())
    await stores.admissions.confirm(first, idempotency())
    second = queued(rows=2)
    assert await stores.admissions.insert(second, idempotency()) == Admission(first, replayed=True)
    assert await stores.jobs.get(key_of(second)) is None


async def test_a_replay_shows_the_job_as_it_is_now(stores: Stores) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.admissions.confirm(job, idempotency())
    large = Payload(b"x" * 300_000, "application/octet-stream", 17)
    await stores.endings.finish([ended(job, result=large)])
    replay = await stores.admissions.insert(queued(), idempotency())
    assert replay.job == await stores.found(job)
    assert replay.job.result == large


async def test_a_request_in_flight_is_refused(stores: Stores, clock: Clock) -> None:
    await stores.admissions.insert(queued(), idempotency())
    clock.forward(seconds=0.9)
    with pytest.raises(RequestInFlight):
        await stores.admissions.insert(queued(), idempotency())


async def test_another_body_under_the_same_key_is_refused(stores: Stores) -> None:
    first = queued()
    await stores.admissions.insert(first, idempotency(body=b"one"))
    with pytest.raises(IdempotencyMismatch):
        await stores.admissions.insert(queued(), idempotency(body=b"two"))
    await stores.admissions.confirm(first, idempotency(body=b"one"))
    with pytest.raises(IdempotencyMismatch):
        await stores.admissions.insert(queued(), idempotency(body=b"two"))


async def test_a_hundred_requests_with_one_key_at_once_make_one_job(stores: Stores) -> None:
    jobs = [queued() for _ in range(100)]
    outcomes = await asyncio.gather(
        *(stores.admissions.insert(job, idempotency()) for job in jobs), return_exceptions=True
    )
    admitted = [outcome for outcome in outcomes if isinstance(outcome, Admission)]
    assert len(admitted) == 1
    assert not admitted[0].replayed
    assert sum(isinstance(outcome, RequestInFlight) for outcome in outcomes) == 99
    assert await stores.jobs.list("default", after=None, limit=200, status=None) == [admitted[0].job]


async def test_one_job_under_one_key_asked_for_twice_at_once_is_admitted_once(stores: Stores) -> None:
    job = queued()
    outcomes = await asyncio.gather(
        *(stores.admissions.insert(job, idempotency()) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Admission", "RequestInFlight"]


async def test_keys_of_other_requests_do_not_matter(stores: Stores) -> None:
    jobs = [queued() for _ in range(50)]
    admissions = await asyncio.gather(
        *(stores.admissions.insert(job, idempotency(f"key-{number}")) for number, job in enumerate(jobs))
    )
    assert admissions == [Admission(job, replayed=False) for job in jobs]


async def test_keys_belong_to_their_tenant(stores: Stores) -> None:
    ours, theirs = queued(tenant="ours"), queued(tenant="theirs")
    await stores.admissions.insert(ours, idempotency(body=b"one"))
    assert await stores.admissions.insert(theirs, idempotency(body=b"two")) == Admission(theirs, replayed=False)


async def test_a_withdrawn_jobs_key_gives_its_id_again_at_once(stores: Stores) -> None:
    first = queued(rows=1)
    await stores.admissions.insert(first, idempotency())
    await stores.admissions.withdraw(first, idempotency())
    second = queued(rows=2)
    again = await stores.admissions.insert(second, idempotency())
    assert again == Admission(msgspec.structs.replace(second, id=first.id), replayed=False)
    assert await stores.found(first) == again.job
    with pytest.raises(RequestInFlight):
        await stores.admissions.insert(queued(), idempotency())
    await stores.admissions.confirm(again.job, idempotency())
    assert await stores.admissions.insert(queued(), idempotency()) == Admission(again.job, replayed=True)


async def test_of_many_retries_after_a_withdrawal_one_gets_the_job(stores: Stores) -> None:
    first = queued()
    await stores.admissions.insert(first, idempotency())
    await stores.admissions.withdraw(first, idempotency())
    outcomes = await asyncio.gather(
        *(stores.admissions.insert(queued(), idempotency()) for _ in range(30)), return_exceptions=True
    )
    admitted = [outcome for outcome in outcomes if isinstance(outcome, Admission)]
    assert [(admission.job.id, admission.replayed) for admission in admitted] == [(first.id, False)]


async def test_a_withdrawn_job_that_ran_after_all_is_replayed(stores: Stores) -> None:
    """The send was thought to have failed, and had not: the job came back through the sink."""
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.admissions.withdraw(job, idempotency())
    await stores.endings.finish([ended(job)])
    await stores.admissions.confirm(job, idempotency())
    replay = await stores.admissions.insert(queued(), idempotency())
    assert replay == Admission(await stores.found(job), replayed=True)


async def test_the_lease_of_a_crashed_gateway_runs_out_and_the_same_job_is_sent_again(
    stores: Stores, clock: Clock
) -> None:
    first = queued()
    await stores.admissions.insert(first, idempotency())
    clock.forward(seconds=1)
    retry = await stores.admissions.insert(queued(), idempotency())
    assert retry == Admission(first, replayed=False)
    clock.forward(seconds=0.9)
    with pytest.raises(RequestInFlight):
        await stores.admissions.insert(queued(), idempotency())


async def test_of_many_retries_after_a_lease_ran_out_one_gets_the_job(stores: Stores, clock: Clock) -> None:
    first = queued()
    await stores.admissions.insert(first, idempotency())
    clock.forward(seconds=1)
    outcomes = await asyncio.gather(
        *(stores.admissions.insert(queued(), idempotency()) for _ in range(30)), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if isinstance(outcome, Admission)] == [Admission(first, replayed=False)]


async def test_a_job_that_started_before_its_lease_ran_out_is_replayed(stores: Stores, clock: Clock) -> None:
    """It has been sent, though nobody lived to say so."""
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.endings.mark_running([key_of(job)], NOW)
    clock.forward(seconds=1)
    replay = await stores.admissions.insert(queued(), idempotency())
    assert replay.replayed
    assert replay.job.id == job.id
    assert replay.job.status is Status.RUNNING


async def test_a_renewed_lease_holds_the_key_for_as_long_as_it_is_renewed(stores: Stores, clock: Clock) -> None:
    first = queued()
    await stores.admissions.insert(first, idempotency())
    for _ in range(5):
        clock.forward(seconds=0.9)
        await stores.admissions.renew(first, idempotency())
        with pytest.raises(RequestInFlight):
            await stores.admissions.insert(queued(), idempotency())
    clock.forward(seconds=1)
    assert await stores.admissions.insert(queued(), idempotency()) == Admission(first, replayed=False)


async def test_who_lost_its_lease_to_a_retry_cannot_renew_it(stores: Stores, clock: Clock) -> None:
    first, second = queued(), queued()
    await stores.admissions.insert(first, idempotency())
    clock.forward(seconds=1)
    await stores.admissions.insert(second, idempotency())
    clock.forward(seconds=0.9)
    await stores.admissions.renew(first, idempotency())
    clock.forward(seconds=0.1)
    assert await stores.admissions.insert(queued(), idempotency()) == Admission(first, replayed=False)


async def test_an_answered_key_is_held_by_nobody_who_renews_late(stores: Stores) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.admissions.confirm(job, idempotency())
    await stores.admissions.renew(job, idempotency())
    assert await stores.admissions.insert(queued(), idempotency()) == Admission(job, replayed=True)


@pytest.mark.parametrize("answered", [True, False])
async def test_who_lost_its_lease_to_a_retry_cannot_withdraw_the_job(
    stores: Stores, clock: Clock, answered: bool
) -> None:
    first = queued()
    await stores.admissions.insert(first, idempotency())
    clock.forward(seconds=1)
    retry = await stores.admissions.insert(queued(), idempotency())
    if answered:
        await stores.admissions.confirm(retry.job, idempotency())
    await stores.admissions.withdraw(first, idempotency())
    assert await stores.found(first) == first


async def test_a_withdrawal_by_a_retry_does_not_outlive_the_answer_of_whoever_it_took_the_key_from(
    stores: Stores, clock: Clock
) -> None:
    first, second = queued(metadata={"a": 1}), queued()
    await stores.admissions.insert(first, idempotency())
    clock.forward(seconds=1)
    await stores.admissions.insert(second, idempotency())
    await stores.admissions.withdraw(second, idempotency())
    await stores.admissions.confirm(first, idempotency())
    assert await stores.found(first) == first
    await stores.admissions.withdraw(second, idempotency())
    assert await stores.admissions.insert(queued(), idempotency()) == Admission(first, replayed=True)


async def test_an_answered_job_is_not_withdrawn_by_whoever_answered_it(stores: Stores) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.admissions.confirm(job, idempotency())
    await stores.admissions.withdraw(job, idempotency())
    assert await stores.found(job) == job


async def test_the_job_of_a_renewed_key_is_withdrawn_by_who_asked_for_it(stores: Stores) -> None:
    first, second = queued(), queued()
    await stores.admissions.insert(first, idempotency())
    await stores.admissions.withdraw(first, idempotency())
    await stores.admissions.insert(second, idempotency())
    await stores.admissions.withdraw(second, idempotency())
    assert await stores.jobs.get(key_of(first)) is None


async def test_withdrawing_what_was_never_written_leaves_no_job(stores: Stores) -> None:
    job, plain = queued(), queued()
    await stores.admissions.withdraw(job, idempotency())
    await stores.admissions.withdraw(plain)
    assert await stores.jobs.list("default", after=None, limit=10, status=None) == []


async def kept_no_longer(stores: Stores, clock: Clock, job: Job) -> None:
    """The job ends, and its time runs out."""
    await stores.endings.finish([ended(job, completed_at=clock(), retention_s=60)])
    clock.forward(seconds=61)
    assert await stores.purge(clock()) == {"jobs": 1}


async def test_a_job_that_is_kept_no_longer_does_not_run_again_though_its_gateway_died_before_it_answered(
    stores: Stores, clock: Clock
) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await kept_no_longer(stores, clock, job)
    with pytest.raises(JobNotFound, match="use another key"):
        await stores.admissions.recall("default", idempotency())
    with pytest.raises(JobNotFound, match="use another key"):
        await stores.admissions.insert(queued(), idempotency())
    assert await stores.jobs.list("default", after=None, limit=10, status=None) == []


async def test_a_job_that_had_started_when_it_was_withdrawn_and_is_kept_no_longer_does_not_run_again(
    stores: Stores, clock: Clock
) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.endings.mark_running([key_of(job)], NOW)
    await stores.admissions.withdraw(job, idempotency())
    await kept_no_longer(stores, clock, job)
    with pytest.raises(JobNotFound):
        await stores.admissions.insert(queued(), idempotency())


async def test_an_answer_that_comes_after_all_brings_back_no_job_that_is_kept_no_longer(
    stores: Stores, clock: Clock
) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await kept_no_longer(stores, clock, job)
    await stores.admissions.confirm(job, idempotency())
    await stores.admissions.confirm(job, idempotency())
    assert await stores.jobs.get(key_of(job)) is None


async def withdrawn_by_a_retry(stores: Stores, clock: Clock, first: Job) -> None:
    """Whoever asked first has sent the job, and does not come to say so before a retry gives it up."""
    second = queued()
    await stores.admissions.insert(first, idempotency())
    clock.forward(seconds=1)
    await stores.admissions.insert(second, idempotency())
    await stores.admissions.withdraw(second, idempotency())


async def test_an_answer_that_comes_late_brings_back_no_job_that_a_retry_withdrew_and_that_ran_and_was_purged(
    stores: Stores, clock: Clock
) -> None:
    first = queued(retention_s=60)
    await withdrawn_by_a_retry(stores, clock, first)
    await kept_no_longer(stores, clock, first)
    await stores.admissions.confirm(first, idempotency())
    assert await stores.jobs.get(key_of(first)) is None
    with pytest.raises(JobNotFound):
        await stores.admissions.insert(queued(), idempotency())


@pytest.mark.parametrize(
    ("retention_s", "late_s", "is_there"), [(3600, 3000, True), (3600, 3600, False), (None, 60, False)]
)
async def test_an_answer_that_comes_late_writes_a_withdrawn_job_again_as_long_as_it_cannot_have_been_purged(
    stores: Stores, clock: Clock, retention_s: int | None, late_s: float, is_there: bool
) -> None:
    first = queued(retention_s=retention_s)
    await withdrawn_by_a_retry(stores, clock, first)
    clock.forward(seconds=late_s)
    await stores.admissions.confirm(first, idempotency())
    assert await stores.jobs.get(key_of(first)) == (first if is_there else None)


async def test_recalling_an_unknown_key_finds_nothing_and_takes_nothing(stores: Stores) -> None:
    assert await stores.admissions.recall("default", idempotency()) is None
    job = queued()
    assert await stores.admissions.insert(job, idempotency()) == Admission(job, replayed=False)


async def test_an_answered_request_is_recalled_as_it_is_now(stores: Stores) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    await stores.admissions.confirm(job, idempotency())
    await stores.endings.finish([ended(job, result=Payload(b"x" * 300_000, "application/octet-stream", 17))])
    assert await stores.admissions.recall("default", idempotency()) == await stores.found(job)
    with pytest.raises(IdempotencyMismatch):
        await stores.admissions.recall("default", idempotency(body=b"another"))


async def test_a_request_in_flight_is_not_recalled(stores: Stores, clock: Clock) -> None:
    job = queued()
    await stores.admissions.insert(job, idempotency())
    with pytest.raises(RequestInFlight):
        await stores.admissions.recall("default", idempotency())
    clock.forward(seconds=1)
    assert await stores.admissions.recall("default", idempotency()) is None


async def test_confirming_an_unknown_key_does_nothing(stores: Stores) -> None:
    await stores.admissions.confirm(queued(), idempotency())


async def test_confirming_for_another_job_does_nothing(stores: Stores) -> None:
    await stores.admissions.insert(queued(), idempotency())
    await stores.admissions.confirm(queued(), idempotency())
    with pytest.raises(RequestInFlight):
        await stores.admissions.insert(queued(), idempotency())


async def test_old_keys_are_purged_and_their_jobs_stay(stores: Stores, clock: Clock) -> None:
    old, young = queued(), queued()
    await stores.admissions.insert(old, idempotency("old"))
    await stores.admissions.confirm(old, idempotency("old"))
    clock.forward(hours=1)
    await stores.admissions.insert(young, idempotency("young"))
    await stores.admissions.confirm(young, idempotency("young"))
    clock.forward(hours=23, seconds=1)
    assert await stores.purge(clock()) == {"idempotency_keys": 1}
    assert await stores.purge(clock()) == {}
    assert await stores.found(old) == old
    new = queued()
    assert await stores.admissions.insert(new, idempotency("old")) == Admission(new, replayed=False)
    assert await stores.admissions.insert(queued(), idempotency("young")) == Admission(young, replayed=True)


async def test_a_key_that_no_store_can_hold_is_refused(stores: Stores) -> None:
    with pytest.raises(InvalidInput) as refused:
        await stores.admissions.insert(queued(), idempotency("a\0b"))
    assert refused.value.param == "Idempotency-Key"


async def test_a_refused_job_takes_no_key(stores: Stores) -> None:
    with pytest.raises(InvalidInput):
        await stores.admissions.insert(queued(metadata={"n": 2**70}), idempotency())
    job = queued()
    assert await stores.admissions.insert(job, idempotency()) == Admission(job, replayed=False)


async def test_a_refused_job_does_not_hurt_those_whose_keys_are_taken_with_it(stores: Stores) -> None:
    good = [queued() for _ in range(10)]
    bad = queued(metadata={"n": 2**70})
    outcomes = await asyncio.gather(
        *(stores.admissions.insert(job, idempotency(job.id)) for job in [*good[:5], bad, *good[5:]]),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(5), InvalidInput)
    assert outcomes == [Admission(job, replayed=False) for job in good]
