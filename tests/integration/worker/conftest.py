"""A worker's surroundings, on real services."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.embedded.ports import LOOPBACK
from tests.integration.worker.lever import spins_for, write_lever
from tests.integration.worker.site import PARTITIONS, Site, open_site


@pytest.fixture(scope="session")
def lever_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lever(tmp_path_factory.mktemp("models"), versions=("1", "2"))


@pytest.fixture(scope="session")
def quarter_second() -> int:
    """Spins that keep the lever model busy for about a quarter of a second."""
    return spins_for(0.25)


@pytest.fixture
def environment(
    kafka_bootstrap_servers: str, redis_url: str, topic_prefix: str, lever_repository: Path
) -> dict[str, str]:
    """What a worker is told, by the names of its settings."""
    return {
        "kafka_bootstrap_servers": kafka_bootstrap_servers,
        "kafka_session_timeout_s": "6",  # a worker that was killed is missed soon; brokers allow no less
        "redis_url": redis_url,
        "topic_prefix": topic_prefix,
        "model_repository": str(lever_repository),
        "worker_models": "lever/1",
        "lane_partitions": str(PARTITIONS),
        "health_host": LOOPBACK,
        "health_port": "0",
        "log_format": "json",
    }


@pytest.fixture
async def site(environment: dict[str, str]) -> AsyncIterator[Site]:
    async with open_site(environment) as site:
        yield site
