"""What several roles' tests stand on: a database behind a gate, and what every role on real services is told."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from stores.postgres import PostgresJobs
from tests.integration.stores.gate import Gate


@pytest.fixture
async def postgres_gate(migrated_postgres_dsn: str) -> AsyncIterator[Gate]:
    """On a role's way to Postgres."""
    async with Gate(migrated_postgres_dsn) as gate:
        yield gate


@pytest.fixture
async def jobs(migrated_postgres_dsn: str) -> AsyncIterator[PostgresJobs]:
    """The jobs as they are, gate or no gate."""
    async with PostgresJobs(migrated_postgres_dsn) as jobs:
        yield jobs


@pytest.fixture
def role_settings(kafka_bootstrap_servers: str, topic_prefix: str, postgres_gate: Gate) -> dict[str, Any]:
    """What a role with a database is told, by the names of its settings."""
    return {
        "kafka_bootstrap_servers": kafka_bootstrap_servers,
        "topic_prefix": topic_prefix,
        "postgres_dsn": SecretStr(postgres_gate.url),
        "health_host": "127.0.0.1",
        "health_port": 0,
    }
