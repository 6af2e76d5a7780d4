"""Giving back what is kept no longer of webhooks: fast enough, and no day mixed with another."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from stores.postgres.webhooks.attempt_days import day_of, slot_of
from stores.webhooks import Verdict
from tests.contracts.stores.webhook_stores import Webhooks
from tests.integration.stores.migrating import session
from tests.integration.stores.webhook_load import postgres_webhooks
from tests.waiting import eventually
from tests.webhooks import NOW, outcome
from workers.notifier.chores import purge

DAY = timedelta(days=1)
# What lies in the place of today.
SLOT = slot_of(day_of(NOW))
ATTEMPTS = "select at from webhook_attempts where slot = $1"
DELIVERED = """
insert into webhook_deliveries
    (created_at, due_at, ended_at, revision, id, tenant, target, subject, event_type, state, facts)
select $1, $1, $1, 3, 'msg_' || number, 'default', 'we_a', 'job_' || number, 'job.succeeded', 'delivered', '{}'
from generate_series(1, $2) as number
"""


@pytest.fixture
async def webhooks(migrated_postgres_dsn: str) -> AsyncIterator[Webhooks]:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await webhooks.added()
        yield webhooks


async def attempted(webhooks: Webhooks, at: datetime) -> None:
    await webhooks.waiting("we_a", created_at=at)
    (claim,) = (await webhooks.queue.claim(at, limit=1, each=1)).claims
    await webhooks.queue.record([outcome(claim, Verdict.DELIVERED, at)], at)


async def days(dsn: str) -> list[int]:
    """Of which days attempts lie in the place of today, counted from now."""
    async with session(dsn) as connection:
        return sorted(day_of(row["at"]) - day_of(NOW) for row in await connection.fetch(ATTEMPTS, SLOT))


async def test_a_day_on_which_nothing_was_purged_is_emptied_before_another_is_written_to_its_place(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    await attempted(webhooks, NOW)
    async with postgres_webhooks(migrated_postgres_dsn) as another:
        for notifier in (webhooks, another, webhooks):
            await attempted(notifier, NOW + 32 * DAY)
    assert await days(migrated_postgres_dsn) == [32, 32, 32]


@pytest.mark.parametrize("after", [31, 32, 40, 400])
async def test_a_day_that_is_over_is_emptied_by_the_next_purge_whenever_that_is(
    webhooks: Webhooks, migrated_postgres_dsn: str, after: int
) -> None:
    await attempted(webhooks, NOW)
    await webhooks.queue.purge(NOW + 30 * DAY, limit=100)
    assert await days(migrated_postgres_dsn) == [0]
    await webhooks.queue.purge(NOW + after * DAY, limit=100)
    assert await days(migrated_postgres_dsn) == []


async def test_a_day_whose_place_cannot_be_emptied_is_not_mixed_with_it_and_outcomes_are_written_all_the_same(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    await attempted(webhooks, NOW)
    later = NOW + 32 * DAY
    async with session(migrated_postgres_dsn) as reading:
        async with reading.transaction():
            await reading.fetch(ATTEMPTS, SLOT)
            for seconds in range(3):
                await attempted(webhooks, later + timedelta(seconds=seconds))
            assert await days(migrated_postgres_dsn) == [0]
        await attempted(webhooks, later + timedelta(seconds=10))
    assert await days(migrated_postgres_dsn) == [32]


async def test_more_than_a_thousand_deliveries_are_purged_in_a_second(
    webhooks: Webhooks, migrated_postgres_dsn: str
) -> None:
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(DELIVERED, NOW, 20_000)

        async def all_are_gone() -> bool:
            return not await connection.fetchval("select exists (select from webhook_deliveries)")

        purging = asyncio.create_task(purge(webhooks.queue, lambda: NOW + 31 * DAY))
        await eventually(all_are_gone, 15)
        purging.cancel()
