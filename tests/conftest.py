"""Fixtures of all tests: the real services, one of each a session, and a corner of its own in them for each test."""

import gc
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
import pytest_asyncio
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback

from stores.postgres import migrate
from tests.services import service_source
from tests.sharing import pytest_xdist_make_scheduler
from tests.waiting import LoopClock

# No example fails by the clock: the machine may be busy with other things. `make check` takes the second: the same
# properties, tried on fewer examples.
hypothesis.settings.register_profile("whole", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("whole"), max_examples=20)
hypothesis.settings.load_profile("whole")

# Not what structlog chooses where nobody does: a second's work for each traceback, with the values of all variables.
structlog.configure([*structlog.get_config()["processors"][:-1], ConsoleRenderer(exception_formatter=plain_traceback)])

__all__ = ["pytest_xdist_make_scheduler"]  # pytest looks for hooks here


def pytest_collection_finish() -> None:
    """The tests themselves are some million objects that stay: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What a command that runs in the tests' process sets for its logs ends with its test."""
    config, handlers = structlog.get_config(), logging.getLogger().handlers[:]
    loggers = [logging.getLogger(name) for name in (None, "aiokafka", "aiokafka.client", "uvicorn")]
    before = [(each.level, each.filters[:]) for each in loggers]
    yield
    structlog.configure(**config)
    logging.getLogger().handlers[:] = handlers
    for each, (level, filters) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.filters[:] = filters


@pytest.fixture(scope="session")
def kafka_bootstrap_servers() -> Iterator[str]:
    with service_source().kafka() as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """One server; what a test writes here, the next one finds. See `fresh_postgres_dsn`."""
    with service_source().postgres() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with service_source().redis() as url:
        yield url


@pytest.fixture
async def fresh_postgres_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """An empty database for this test alone."""
    async with database(postgres_dsn) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_template(postgres_dsn: str) -> AsyncIterator[str]:
    """The name of a database with our tables, to be copied: that is quicker than to migrate each."""
    async with database(postgres_dsn) as dsn:
        await migrate(dsn)
        yield urlsplit(dsn).path[1:]


@pytest.fixture
async def migrated_postgres_dsn(postgres_dsn: str, migrated_template: str) -> AsyncIterator[str]:
    """A database for this test alone, with our tables and nothing in them."""
    async with database(postgres_dsn, template=migrated_template) as dsn:
        yield dsn


@asynccontextmanager
async def database(server_dsn: str, template: str = "template1") -> AsyncIterator[str]:
    """A new database, as long as the block lasts; yields its address."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server_dsn)
    try:
        await admin.execute(f"create database {name} template {template}")
        yield urlsplit(server_dsn)._replace(path=f"/{name}").geturl()
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topics and groups that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def loop_clock() -> LoopClock:
    """Of the test's own event loop. Fixtures that look at the time ask for it first."""
    return LoopClock()
