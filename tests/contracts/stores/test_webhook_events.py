"""Contract: whatever ends a job, or says that it runs, writes one delivery for each target that is told of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from schemas.hold_documents import WantedHold
from schemas.holds import Action
from schemas.jobs import Job, Payload, Status, Terminal
from schemas.rollout_plans import read_plan
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Verb, new_rollout_id
from schemas.webhook_facts import MOST_METADATA_CHARACTERS, job_facts
from schemas.webhook_targets import origin_target
from schemas.webhooks import Delivery, DeliveryState, EventType, Revision
from stores.memory import MemoryJobs
from stores.memory_holds import MemoryHolds
from stores.memory_rollouts import MemoryRollouts
from stores.memory_routes import MemoryRoutes
from stores.memory_webhook_events import MemoryEvents
from stores.memory_webhook_state import WebhookState
from stores.postgres.holds import PostgresHolds
from stores.postgres.rollouts import PostgresRollouts
from stores.postgres.webhooks.events import TransactionEvents
from stores.protocols import JobKey
from stores.rollouts import RolloutStore
from stores.webhooks import DeliveryFilter, DeliveryLog, DeliveryQueue, Endpoints
from tests.contracts.stores.building import LATER, NOW, TOO_LATE, Clock, Stores, ended, failed, key_of, queued
from tests.waiting import eventually, soon
from tests.webhooks import endpoint

HOOK = "https://example.com/hook?a=b"
ALL = (EventType.JOB_RUNNING, EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED)


@pytest.fixture
async def rollouts(dsn: str | None, webhook_state: WebhookState) -> AsyncIterator[RolloutStore]:
    if dsn is None:
        yield MemoryRollouts(MemoryRoutes(), MemoryEvents(webhook_state))
        return
    async with PostgresRollouts(dsn) as rollouts:
        yield rollouts


async def written(log: DeliveryLog, tenant: str = "default") -> list[Delivery]:
    """The oldest first."""
    return list(reversed((await log.list(tenant, DeliveryFilter(), after=None, limit=10_000)).deliveries))


def summary(deliveries: list[Delivery]) -> list[tuple[str, str, str, int]]:
    return sorted((each.target, each.event_type, each.subject, each.revision) for each in deliveries)


def end_of(job: Job, status: Status) -> Terminal:
    match status:
        case Status.SUCCEEDED:
            return ended(job)
        case Status.FAILED:
            return failed(job, error=TOO_LATE)
        case _:
            return failed(job, status=Status.CANCELED)


@pytest.mark.parametrize("known", [True, False], ids=["admitted", "never seen before"])
@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
async def test_an_end_is_one_delivery_for_each_endpoint_that_asked_for_it(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog, status: Status, known: bool
) -> None:
    event = EventType(f"job.{status}")
    others = tuple(each for each in ALL if each != event)
    await endpoints.add(endpoint("we_a", event_types=(event,)))
    await endpoints.add(endpoint("we_b", event_types=ALL))
    await endpoints.add(endpoint("we_c", event_types=others))
    await endpoints.add(endpoint("we_d", event_types=ALL, tenant="another"))
    job = await stores.inserted() if known else queued()

    assert await stores.endings.finish([end_of(job, status)]) == [key_of(job)]

    deliveries = await written(log)
    assert summary(deliveries) == [(target, event, job.id, Revision.ENDED) for target in ("we_a", "we_b")]
    assert await written(log, "another") == []
    for delivery in deliveries:
        assert (delivery.created_at, delivery.due_at, delivery.state) == (NOW, NOW, DeliveryState.PENDING)
        assert (delivery.url, delivery.attempts, delivery.tried, delivery.ended_at) == (None, 0, 0, None)


async def test_a_delivery_knows_of_its_job_what_is_not_its_result(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a"))
    job = await stores.inserted(variant="canary", batch_id="batch_1", metadata={"a": [1, "é", None]})
    await stores.endings.finish([failed(job, error=TOO_LATE, started_at=None)])

    (delivery,) = await written(log)

    stored = await stores.found(job)
    assert moments(delivery.facts) == moments(job_facts(stored))
    assert delivery.facts["metadata"] == {"a": [1, "é", None]}
    assert delivery.facts["error"] == msgspec.to_builtins(TOO_LATE)


async def test_what_only_json_can_say_keeps_no_job_from_its_end(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a", event_types=ALL))
    jobs = [await stores.inserted(metadata={"NUL": "\0", "escaped": "\\u0000"}, webhook=HOOK) for _ in range(3)]
    error = msgspec.structs.replace(TOO_LATE, message="not \0 in time")
    await stores.endings.mark_running([key_of(job) for job in jobs], NOW)
    await stores.endings.finish([ended(jobs[0]), failed(jobs[1], error=error)])
    await stores.jobs.cancel(key_of(jobs[2]), NOW)

    assert all([(await stores.found(job)).done for job in jobs])
    told = await written(log)
    assert len(told) == 3 + 2 * 3
    for delivery in told:
        assert delivery.facts["metadata"] == jobs[0].metadata
    assert {each.facts["error"]["message"] for each in told if each.event_type == EventType.JOB_FAILED} == {
        error.message
    }


def moments(facts: dict[str, Any]) -> dict[str, Any]:
    """With times as such: each has more than one form."""
    return {
        name: datetime.fromisoformat(value) if name.endswith("_at") and value is not None else value
        for name, value in facts.items()
    }


async def test_a_delivery_does_without_metadata_that_is_long(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a"))
    short, long = {"a": "b" * (MOST_METADATA_CHARACTERS - 8)}, {"a": "b" * (MOST_METADATA_CHARACTERS - 7)}
    jobs = [await stores.inserted(metadata=metadata) for metadata in (short, long)]
    await stores.endings.finish([ended(job) for job in jobs])
    facts = {each.subject: each.facts["metadata"] for each in await written(log)}
    assert facts == {jobs[0].id: short, jobs[1].id: {}}


async def test_a_jobs_own_webhook_is_told_of_its_end_at_the_target_of_its_origin(
    stores: Stores, log: DeliveryLog
) -> None:
    job, without = await stores.inserted(webhook=HOOK), await stores.inserted()
    await stores.endings.finish([ended(job), ended(without)])
    (delivery,) = await written(log)
    assert (delivery.target, delivery.subject, delivery.url) == (origin_target("default", HOOK), job.id, HOOK)


async def test_a_jobs_own_webhook_is_told_of_nothing_else_than_what_was_asked_for(
    stores: Stores, log: DeliveryLog
) -> None:
    asked = (EventType.JOB_RUNNING, EventType.JOB_FAILED)
    job, other = [await stores.inserted(webhook=HOOK, webhook_events=asked) for _ in range(2)]
    await stores.endings.mark_running([key_of(job)], NOW)
    await stores.endings.finish([ended(job), failed(other)])
    target = origin_target("default", HOOK)
    assert summary(await written(log)) == [
        (target, EventType.JOB_FAILED, other.id, Revision.ENDED),
        (target, EventType.JOB_RUNNING, job.id, Revision.RUNNING),
    ]


async def test_jobs_of_two_tenants_that_name_one_origin_have_two_targets(stores: Stores, log: DeliveryLog) -> None:
    jobs = [await stores.inserted(webhook=HOOK, tenant=tenant) for tenant in ("acme", "default")]
    await stores.endings.finish([ended(job) for job in jobs])
    targets = {each.target for tenant in ("acme", "default") for each in await written(log, tenant)}
    assert targets == {origin_target("acme", HOOK), origin_target("default", HOOK)}


ODD_URLS = [
    "https://example.com/",
    "https://example.com:8443/a/b?c=d:/#",
    "https://example.com?q=/",
    "https://[2001:db8::1]:8443/hook",
    "https://xn--bcher-kva.example/%C3%BC",
    "http://127.0.0.1:1/",
    "https://a.example\\@b.example/",
    "https://user:pass@example.com/",
    "no URL at all",
    "https:///",
    "",
    "HTTPS://EXAMPLE.COM/",
    "https://bücher.example/\n",
]


async def test_the_target_of_an_origin_is_the_same_wherever_it_is_reckoned(stores: Stores, log: DeliveryLog) -> None:
    """Also for what no gateway lets in."""
    tenant = "acme é"
    jobs = [await stores.inserted(webhook=url, tenant=tenant) for url in ODD_URLS]
    await stores.endings.finish([ended(job) for job in jobs])
    targets = {each.subject: each.target for each in await written(log, tenant)}
    assert targets == {job.id: origin_target(tenant, url) for job, url in zip(jobs, ODD_URLS, strict=True)}


async def test_an_endpoint_and_a_jobs_own_webhook_are_both_told(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a", url=HOOK))
    job = await stores.inserted(webhook=HOOK)
    await stores.endings.finish([ended(job)])
    assert {each.target for each in await written(log)} == {"we_a", origin_target("default", HOOK)}


async def test_an_end_that_comes_again_is_not_told_again(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a", event_types=ALL))
    job, unseen = await stores.inserted(webhook=HOOK), queued()
    await stores.endings.finish([ended(job), failed(job), ended(unseen), ended(unseen)])
    before = await written(log)
    assert len(before) == 3
    await stores.endings.finish([failed(job), ended(unseen)])
    await stores.endings.mark_running([key_of(job), key_of(unseen)], LATER)
    await stores.jobs.cancel(key_of(job), LATER)
    assert await written(log) == before


async def test_a_cancellation_is_told_once(stores: Stores, endpoints: Endpoints, log: DeliveryLog) -> None:
    await endpoints.add(endpoint("we_a"))
    job = await stores.inserted(webhook=HOOK)
    canceled = await stores.jobs.cancel(key_of(job), LATER)
    assert canceled == await stores.found(job)
    await stores.jobs.cancel(key_of(job), LATER)
    await stores.endings.finish([ended(job)])
    deliveries = await written(log)
    assert summary(deliveries) == [
        (target, EventType.JOB_CANCELED, job.id, Revision.ENDED) for target in (origin_target("default", HOOK), "we_a")
    ]
    assert {each.due_at for each in deliveries} == {LATER}


async def test_what_a_hold_ends_is_told(
    dsn: str | None, stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a"))
    job = await stores.inserted(webhook=HOOK)
    held = WantedHold(action=Action.END, model="digits").as_hold("h1", "anna", NOW)
    for _ in range(2):
        if dsn is None:
            assert isinstance(stores.jobs, MemoryJobs)
            await MemoryHolds(stores.jobs).end(held, NOW, after=None, limit=10)
        else:
            async with PostgresHolds(dsn) as holds:
                await holds.end(held, NOW, after=None, limit=10)
    assert summary(await written(log)) == [
        (target, EventType.JOB_CANCELED, job.id, Revision.ENDED) for target in (origin_target("default", HOOK), "we_a")
    ]


async def test_that_a_job_runs_is_told_once_and_only_to_those_who_asked(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a", event_types=(EventType.JOB_RUNNING,)))
    await endpoints.add(endpoint("we_b"))
    job = await stores.inserted(webhook=HOOK)
    for _ in range(2):
        await stores.endings.mark_running([key_of(job), key_of(queued())], LATER)
    (delivery,) = await written(log)
    assert (delivery.target, delivery.event_type, delivery.revision) == ("we_a", "job.running", Revision.RUNNING)
    assert (delivery.facts["status"], delivery.facts["done"]) == ("running", False)


async def test_what_was_withdrawn_has_not_ended(stores: Stores, endpoints: Endpoints, log: DeliveryLog) -> None:
    await endpoints.add(endpoint("we_a", event_types=ALL))
    job = await stores.inserted(webhook=HOOK)
    await stores.admissions.withdraw(job)
    assert await stores.jobs.get(key_of(job)) is None
    assert await written(log) == []


async def test_what_cannot_be_stored_is_not_told_and_holds_up_no_other(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a"))
    good = [await stores.inserted() for _ in range(5)]
    bad = ended(queued(), result=Payload(b"", "text/\0plain"))
    await stores.endings.finish([*map(ended, good[:2]), bad, *map(ended, good[2:])])
    assert {each.subject for each in await written(log)} == {job.id for job in good}


async def test_a_large_batch_of_ends_is_told_whole(stores: Stores, endpoints: Endpoints, log: DeliveryLog) -> None:
    await endpoints.add(endpoint("we_a"))
    jobs = [queued(id=f"direct-{number}") for number in range(1200)] + [queued() for _ in range(30)]
    won = await stores.endings.finish([ended(job) for job in jobs])
    assert sorted(JobKey(each.tenant, each.subject) for each in await written(log)) == sorted(won)
    assert len(won) == len(jobs)


async def test_of_sinks_that_finish_the_same_jobs_at_once_each_end_is_told_once(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog
) -> None:
    """In any order, over several places of jobs and the same targets: neither a deadlock nor a second delivery."""
    for name in ("we_a", "we_b", "we_c"):
        await endpoints.add(endpoint(name))
    hooks = [f"https://{name}.example/" for name in "cab"]
    jobs = [queued(webhook=hooks[number % 3], id=f"direct-{number}") for number in range(60)]
    jobs += [queued(webhook=hooks[number % 3]) for number in range(60)]
    await stores.admissions.insert_new(jobs)
    orders = [jobs, jobs[::-1], jobs[60:] + jobs[:60], jobs[::2] + jobs[1::2]]
    async with asyncio.TaskGroup() as group:
        for order in orders:
            group.create_task(stores.endings.finish([ended(job) for job in order]))
        for job in jobs[::7]:
            group.create_task(stores.jobs.cancel(key_of(job), LATER))
        group.create_task(stores.endings.mark_running([key_of(job) for job in jobs[::-1]], NOW))
    told = [(each.subject, each.target) for each in await written(log)]
    assert len(told) == len(set(told)) == len(jobs) * 4


async def test_who_waits_for_deliveries_hears_of_an_end(
    stores: Stores, endpoints: Endpoints, queue: DeliveryQueue
) -> None:
    await endpoints.add(endpoint("we_a"))
    news = queue.news()
    heard = asyncio.ensure_future(anext(news))
    try:
        # What was told before somebody listens is not heard.
        async def end() -> bool:
            job = await stores.inserted()
            await stores.endings.finish([ended(job)])
            return heard.done()

        await eventually(end)
        await soon(heard)
    finally:
        heard.cancel()
        await asyncio.gather(heard, return_exceptions=True)
        await news.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("verbs", "event"),
    [
        ([Verb.PROMOTE], EventType.ROLLOUT_PROMOTED),
        ([Verb.PAUSE, Verb.ABORT], EventType.ROLLOUT_ABORTED),
        ([Verb.ROLLBACK], EventType.ROLLOUT_ROLLED_BACK),
    ],
)
async def test_the_end_of_a_rollout_is_told_once(
    rollouts: RolloutStore, endpoints: Endpoints, log: DeliveryLog, verbs: list[Verb], event: EventType
) -> None:
    subscribed = (EventType.ROLLOUT_PROMOTED, EventType.ROLLOUT_ABORTED, EventType.ROLLOUT_ROLLED_BACK)
    await endpoints.add(endpoint("we_a", event_types=subscribed))
    await endpoints.add(endpoint("we_b"))
    plan = read_plan(b'{"model":"digits","version":"2"}')
    rollout = (await rollouts.start(plan, new_rollout_id(), "1", Inputs("anna"), NOW)).rollout
    for verb in verbs:
        assert await written(log) == []
        rollout = (await rollouts.change(rollout.id, verb, Inputs("anna"), LATER)).rollout

    again = (await rollouts.change(rollout.id, verbs[-1], Inputs("anna"), LATER)).rollout

    assert again == rollout
    (delivery,) = await written(log)
    assert (delivery.target, delivery.event_type, delivery.subject) == ("we_a", event, rollout.id)
    assert (delivery.revision, delivery.created_at) == (rollout.sequence, LATER)
    assert (delivery.facts["model"], delivery.facts["version"]) == ("digits", "2")
    assert f"rollout.{delivery.facts['status']}" == event


# The twin has no transactions, and claims in one breath.
only_postgres = pytest.mark.parametrize("where", ["postgres"], indirect=True)


@only_postgres
async def test_a_statement_that_is_rolled_back_has_told_nothing(
    dsn: str | None, log: DeliveryLog, endpoints: Endpoints
) -> None:
    assert dsn is not None
    await endpoints.add(endpoint("we_a", event_types=(EventType.ROLLOUT_ABORTED,)))
    connection = await asyncpg.connect(dsn)
    try:
        transaction = connection.transaction()
        await transaction.start()
        events = TransactionEvents(connection)
        assert await events.write("default", EventType.ROLLOUT_ABORTED, "rollout_1", 3, {}, NOW) == 1
        await transaction.rollback()
        assert await written(log) == []
        assert await events.write("default", EventType.ROLLOUT_ABORTED, "rollout_1", 3, {}, NOW) == 1
        assert len(await written(log)) == 1
    finally:
        await connection.close()


@only_postgres
async def test_what_is_written_while_a_claim_holds_its_target_is_due_behind_it(
    dsn: str | None, stores: Stores, endpoints: Endpoints, queue: DeliveryQueue
) -> None:
    """It is not in what the claim saw, and the claim would write down that nothing waits."""
    assert dsn is not None
    await endpoints.add(endpoint("we_a"))
    job = await stores.inserted()
    claimer = await asyncpg.connect(dsn)
    try:
        claim = claimer.transaction()
        await claim.start()
        await claimer.execute("select from webhook_targets where id = 'we_a' for update")
        finishing = asyncio.ensure_future(stores.endings.finish([ended(job)]))
        await eventually(lambda: waits_for_a_lock(claimer))
        assert await claimer.fetchval("select count(*) from webhook_deliveries") == 0
        await claimer.execute("update webhook_targets set next_due_at = 'infinity' where id = 'we_a'")
        await claim.commit()
        await soon(finishing)
        assert (await queue.claim(NOW, limit=10, each=10)).claims[0].delivery.subject == job.id
    finally:
        await claimer.close()


async def waits_for_a_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return bool(await connection.fetchval("select exists (select from pg_locks where not granted)"))


async def test_ends_are_told_as_of_the_stores_clock_whatever_their_records_say(
    stores: Stores, endpoints: Endpoints, log: DeliveryLog, clock: Clock
) -> None:
    await endpoints.add(endpoint("we_a"))
    clock.forward(seconds=90)
    job = await stores.inserted()
    await stores.endings.finish([ended(job, completed_at=NOW - timedelta(hours=1))])
    (delivery,) = await written(log)
    assert delivery.due_at == NOW + timedelta(seconds=90)
