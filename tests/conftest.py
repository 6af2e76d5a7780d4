"""Fixtures of all tests: the real services, one of each a session, and a corner of its own in them for each test."""

import secrets
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.services import service_source


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
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_dsn)
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topics and groups that no other test uses."""
    return f"test-{secrets.token_hex(6)}"
