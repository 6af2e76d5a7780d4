from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from stores.memory import MemoryJobs
from stores.memory_webhook_events import MemoryEvents
from stores.memory_webhook_state import WebhookState
from stores.postgres import PostgresAdmissions, PostgresJobs, PostgresPurging, PostgresResults
from stores.retention import DEFAULT_RETENTION
from stores.webhooks import DeliveryLog, DeliveryQueue, Endpoints
from tests.conftest import database
from tests.contracts.stores.building import Clock, Stores
from tests.contracts.stores.webhook_stores import Webhooks, webhook_stores

# Rows of all tables, those of days with the one that they inherit from; to truncate so many takes longer.
EMPTY = """
do $$ declare found regclass; begin
    for found in
        select oid from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
            and relname not in ('schema_migrations', 'job_ring')
            and not exists (select from pg_inherits where inhrelid = pg_class.oid)
    loop
        execute format('delete from %s', found);
    end loop;
end $$
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_dsn(postgres_dsn: str, migrated_template: str) -> AsyncIterator[str]:
    """A database of our own: emptied for each test, since that is quicker than a new one."""
    async with database(postgres_dsn, migrated_template) as dsn:
        yield dsn


@pytest.fixture(params=["memory", "postgres"])
def where(request: pytest.FixtureRequest) -> str | None:
    dsn: str | None = None if request.param == "memory" else request.getfixturevalue("shared_dsn")
    return dsn


@pytest.fixture
async def dsn(where: str | None) -> str | None:
    """An empty database, or None for the twin."""
    if where is not None:
        await execute(where, EMPTY)
    return where


@pytest.fixture
def webhook_state() -> WebhookState:
    """What the twins of webhooks share, and tell each other."""
    return WebhookState()


@pytest.fixture
def memory_jobs(clock: Clock, webhook_state: WebhookState) -> MemoryJobs:
    return MemoryJobs(clock, events=MemoryEvents(webhook_state))


@pytest.fixture
async def stores(dsn: str | None, clock: Clock, memory_jobs: MemoryJobs) -> AsyncIterator[Stores]:
    if dsn is None:
        yield Stores(memory_jobs, memory_jobs, memory_jobs, memory_jobs)
        return
    async with (
        PostgresAdmissions(dsn, clock=clock) as admissions,
        PostgresJobs(dsn) as jobs,
        PostgresResults(dsn, clock=clock) as endings,
    ):
        yield Stores(admissions, jobs, endings, PostgresPurging(dsn, DEFAULT_RETENTION))


@pytest.fixture
async def webhooks(
    dsn: str | None, memory_jobs: MemoryJobs, clock: Clock, webhook_state: WebhookState
) -> AsyncIterator[Webhooks]:
    async with webhook_stores(dsn, memory_jobs, clock, webhook_state) as webhooks:
        yield webhooks


@pytest.fixture
def endpoints(webhooks: Webhooks) -> Endpoints:
    return webhooks.endpoints


@pytest.fixture
def log(webhooks: Webhooks) -> DeliveryLog:
    return webhooks.log


@pytest.fixture
def queue(webhooks: Webhooks) -> DeliveryQueue:
    return webhooks.queue


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
