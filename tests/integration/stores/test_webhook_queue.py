"""Claims and outcomes in Postgres, where several are at work at once and much waits."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from schemas.webhooks import Circuit, EventType, Limits, Replay, Revision
from stores.postgres import PostgresAdmissions, PostgresResults
from stores.postgres.webhooks.listeners import MOST_TOLD
from stores.postgres.webhooks.switching import STEP
from stores.webhooks import MOST_ENDPOINTS, DeliveryFilter, Verdict
from tests.contracts.stores.building import Clock, ended, key_of, queued
from tests.contracts.stores.webhook_stores import Webhooks, ids, in_s
from tests.integration.stores.migrating import session
from tests.integration.stores.webhook_load import load, postgres_webhooks, register
from tests.waiting import eventually, soon
from tests.webhooks import NOW, delivery

RUNNING: dict[str, Any] = {"event_type": EventType.JOB_RUNNING, "revision": Revision.RUNNING}
ALL = DeliveryFilter()
HEALTH_EVENTS = (EventType.ENDPOINT_FAILING, EventType.ENDPOINT_DEGRADED, EventType.ENDPOINT_RECOVERED)
# What keeps deliveries from being written, and who waits for that; whether a claim finds the target free.
SHUT = "lock table webhook_deliveries in share mode"
WAITING = "select count(*) from pg_locks where relation = 'webhook_deliveries'::regclass and not granted"
FREE = "select id from webhook_targets where id = $1 for update skip locked"
CUT_OFF = "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen %'"

# As Postgres holds it, and as Python does not read it.
NEST = """
update webhook_deliveries
set facts = ('{"metadata":{"a":' || repeat('[', 1500) || repeat(']', 1500) || '}}')::json where id = $1
"""

# The one of them that no statement may change.
FREEZE = """
create function refuse() returns trigger language plpgsql as $$ begin raise 'it is frozen'; end $$;
create trigger frozen before update on webhook_deliveries for each row when (old.id = '{}') execute function refuse();
"""


@pytest.fixture
async def webhooks(migrated_postgres_dsn: str) -> AsyncIterator[Webhooks]:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        yield webhooks


async def test_those_who_claim_at_once_never_have_the_same(webhooks: Webhooks, migrated_postgres_dsn: str) -> None:
    names = [f"we_{number}" for number in range(20)]
    await register(migrated_postgres_dsn, names, limits=Limits(concurrency=50))
    await load(webhooks, names, 50)
    claimed: Counter[str] = Counter()

    async def notifier() -> None:
        while claims := (await webhooks.claim(limit=20, each=5)).claims:
            claimed.update(claim.delivery.id for claim in claims)
            await webhooks.record(*claims)

    while len(claimed) < 1000:  # who finds all in the other's hands stops
        await asyncio.gather(notifier(), notifier())
    assert set(claimed.values()) == {1}
    assert (await webhooks.claim()).next_due_at is None


async def test_what_is_due_where_nothing_more_may_begin_keeps_no_claim_from_the_others(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    dead, healthy = [f"we_dead_{number}" for number in range(500)], [f"we_{number}" for number in range(100)]
    await register(migrated_postgres_dsn, [*dead, *healthy])
    await load(webhooks, dead, 20, created_at=in_s(-60))
    assert len((await webhooks.claim(limit=10_000, each=10)).claims) == 5000
    # Each has more come in, which has it looked at again, before those whose turn it is.
    await load(webhooks, dead, 1, created_at=in_s(-30))
    await load(webhooks, healthy, 1)
    claims = (await webhooks.claim(1, limit=100, each=10)).claims
    assert sorted(claim.delivery.target for claim in claims) == sorted(healthy)


async def test_outcomes_of_those_that_are_told_of_each_other_never_wait_for_each_other(webhooks: Webhooks) -> None:
    names = ["we_0", "we_5", "we_9"]
    for name in names:
        await webhooks.added(name, event_types=HEALTH_EVENTS)

    async def notifier() -> None:
        for _ in range(20):
            for claim in (await webhooks.claim(limit=2)).claims:
                await webhooks.record(claim, verdict=Verdict.FAILED)
            await webhooks.write([delivery(name) for name in names])

    await soon(asyncio.gather(notifier(), notifier()))
    for name in names:
        others = (await webhooks.log.list("default", DeliveryFilter(endpoint=name), after=None, limit=1000)).deliveries
        about = {each.subject for each in others if each.event_type in HEALTH_EVENTS}
        assert about == {other for other in names if other != name}


async def test_news_are_heard_of_what_is_written_and_again_after_the_connection_broke(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    there = await webhooks.added()
    news = webhooks.queue.news()
    await soon(anext(news))  # of all that came before
    await webhooks.log.add_test(there, "webhook_endpoint.test", NOW)
    await soon(anext(news))
    async with session(migrated_postgres_dsn) as connection:
        assert await connection.fetch(CUT_OFF)
    await soon(anext(news))  # of all that came while nobody listened
    await webhooks.log.add_test(there, "webhook_endpoint.test", NOW)
    await soon(anext(news))


async def test_a_target_is_locked_only_once_its_deliveries_are_written(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    await webhooks.added()
    async with (
        PostgresResults(migrated_postgres_dsn, clock=Clock()) as endings,
        session(migrated_postgres_dsn) as shutting,
        session(migrated_postgres_dsn) as looking,
    ):
        async with shutting.transaction():
            await shutting.execute(SHUT)
            ending = asyncio.create_task(endings.finish([ended(queued())]))

            async def waits() -> bool:
                return bool(await looking.fetchval(WAITING))

            await eventually(waits)
            assert await looking.fetchval(FREE, "we_a") == "we_a"
        await soon(ending)
    assert len((await webhooks.claim()).claims) == 1


async def test_what_is_known_of_one_event_holds_up_no_other_however_deep_it_is_nested(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    await webhooks.added(proven=True)
    due = await webhooks.waiting("we_a", "we_a")
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(NEST, due[0].id)
    assert sorted(ids((await webhooks.claim()).claims)) == sorted(ids(due))


async def test_what_says_that_jobs_run_which_have_ended_holds_up_nothing_behind_it(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    names = ["we_a", "we_b"]
    await register(migrated_postgres_dsn, names)
    await load(webhooks, names, 3000, created_at=in_s(-60), **RUNNING)
    behind = [delivery(name, tenant=name) for name in names]
    await webhooks.write(behind)
    claimed: list[str] = []
    for _ in range(5):
        claimed += ids((await webhooks.claim(each=10)).claims)
    assert sorted(claimed) == sorted(ids(behind))


async def test_who_comes_where_much_says_that_jobs_run_which_have_ended_gets_what_is_behind_it(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    await webhooks.added(url=None)
    await webhooks.write([delivery(created_at=in_s(-60), **RUNNING) for _ in range(3000)])
    (behind,) = await webhooks.waiting("we_a")
    (claim,) = await webhooks.pulled.pull("default", "we_a", in_s(1), limit=1, lease_s=30)
    assert claim.delivery.id == behind.id


async def test_enabling_is_done_step_by_step_and_what_was_cut_off_is_gone_on_with_by_the_next_call(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    await webhooks.added()
    await webhooks.endpoints.disable("default", "we_a", "enough", NOW)
    waiting = await webhooks.waiting(*["we_a"] * (2 * STEP + 1), due_at=in_s(3600))

    async def are_due() -> int:
        return sum(
            each.due_at == in_s(1)
            for each in (await webhooks.log.list("default", ALL, after=None, limit=9999)).deliveries
        )

    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(FREEZE.format(max(ids(waiting))))
        with pytest.raises(StoreUnavailable):
            await webhooks.endpoints.enable("default", "we_a", Replay.MISSED, None, in_s(1))
        assert await are_due() == 2 * STEP
        (standing,) = (await webhooks.endpoints.standing("default", ["we_a"])).values()
        assert standing.health.circuit is Circuit.DISABLED
        await connection.execute("drop trigger frozen on webhook_deliveries")
    assert await webhooks.endpoints.enable("default", "we_a", Replay.MISSED, None, in_s(1)) == len(waiting)
    assert await are_due() == len(waiting)


async def test_hundreds_who_wait_for_what_becomes_of_tests_hold_up_no_list(
    webhooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await webhooks.added()
    tests = [await webhooks.log.add_test(there, "webhook_endpoint.test", NOW) for _ in range(40)]
    postgres = vars(webhooks.log)["_postgres"]
    fetch, statements = postgres.fetch, itertools.count()

    async def counted(*arguments: Any) -> Any:
        next(statements)
        return await fetch(*arguments)

    monkeypatch.setattr(postgres, "fetch", counted)
    looks = [asyncio.create_task(webhooks.found(each)) for each in tests * 10]
    listed = (await webhooks.log.list("default", ALL, after=None, limit=5)).deliveries
    assert next(statements) <= 3
    assert await asyncio.gather(*looks) == tests * 10
    assert ids(listed) == sorted(ids(tests), reverse=True)[:5]


async def test_no_statement_tells_of_more_ends_than_it_may_however_many_endpoints_listen(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    for number in range(MOST_ENDPOINTS):
        await webhooks.added(f"we_{number}", event_types=(EventType.JOB_SUCCEEDED, EventType.JOB_RUNNING))
    jobs = [queued() for _ in range(120)]
    async with (
        PostgresAdmissions(migrated_postgres_dsn, clock=Clock()) as admissions,
        PostgresResults(migrated_postgres_dsn, clock=Clock()) as endings,
    ):
        await admissions.insert_new(jobs)
        await endings.mark_running([key_of(job) for job in jobs], NOW)
        assert len(await endings.finish([ended(job) for job in jobs])) == len(jobs)
    async with session(migrated_postgres_dsn) as connection:
        rows = await connection.fetch("select count(*) from webhook_deliveries group by xmin")
    written = [row["count"] for row in rows]
    assert sum(written) == 2 * len(jobs) * MOST_ENDPOINTS
    assert max(written) <= MOST_TOLD
