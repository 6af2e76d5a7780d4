import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from stores.memory import MemoryJobs
from stores.postgres import PostgresAdmissions, PostgresEndings, PostgresJobs, migrate
from tests.contracts.stores.building import Clock, Stores


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated_dsn(postgres_dsn: str) -> Iterator[str]:
    """A migrated database of our own: emptied for each test, since that is quicker than a new one."""
    name = f"test_stores_{secrets.token_hex(6)}"
    dsn = urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    asyncio.run(execute(postgres_dsn, f"create database {name}"))
    asyncio.run(migrate(dsn))
    yield dsn
    asyncio.run(execute(postgres_dsn, f"drop database {name} with (force)"))


@pytest.fixture(params=["memory", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """An empty database, or None for the twin."""
    if request.param == "memory":
        return None
    dsn: str = request.getfixturevalue("migrated_dsn")
    return dsn


@pytest.fixture
async def stores(dsn: str | None, clock: Clock) -> AsyncIterator[Stores]:
    if dsn is None:
        memory = MemoryJobs(clock)
        yield Stores(memory, memory, memory)
        return
    await execute(dsn, "truncate jobs, idempotency_keys")
    async with (
        PostgresAdmissions(dsn, clock=clock) as admissions,
        PostgresJobs(dsn) as jobs,
        PostgresEndings(dsn) as endings,
    ):
        yield Stores(admissions, jobs, endings)


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
