"""A gateway on real services: its tables, its topics, a catalog, and the process's own loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from gateway.main import serve
from gateway.settings import GatewaySettings
from penstock.embedded.ports import LOOPBACK, choose
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from schemas.catalog import CatalogEntry, encode_entry
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from tests.acceptance.client import client_of
from tests.unit.gateway.house import VECTOR, entry
from tests.waiting import eventually

PARTITIONS = 2
LANES = [Lane("vector", version, cls) for version in ("1", "2") for cls in LaneClass]
ENTRIES = (entry("vector", "1", VECTOR), entry("vector", "2", VECTOR))

Start = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def environment(
    kafka_bootstrap_servers: str, migrated_postgres_dsn: str, redis_url: str, topic_prefix: str
) -> dict[str, str]:
    """What the gateway is told, by the names of its settings."""
    (port,) = choose(1)
    return {
        "kafka_bootstrap_servers": kafka_bootstrap_servers,
        "postgres_dsn": migrated_postgres_dsn,
        "redis_url": redis_url,
        "topic_prefix": topic_prefix,
        "gateway_host": LOOPBACK,
        "gateway_port": str(port),
        "public_base_url": f"http://{LOOPBACK}:{port}",
    }


@pytest.fixture
async def prepared(environment: dict[str, str]) -> GatewaySettings:
    """The settings, once tables, topics and the catalog's entries are there."""
    settings = configured(environment)
    await ensure_topics(settings, [*base_topics(settings, PARTITIONS), *lane_topics(settings, LANES, PARTITIONS)])
    await announce(settings, *ENTRIES)
    return settings


async def announce(settings: GatewaySettings, *entries: CatalogEntry) -> None:
    async with KafkaPublisher(settings) as publisher:
        for each in entries:
            await publisher.publish(OutRecord(settings.topics.catalog, each.key, encode_entry(each), []))


def configured(environment: dict[str, str], **changes: Any) -> GatewaySettings:
    secret = {name: SecretStr(environment[name]) for name in ("postgres_dsn", "redis_url")}
    return GatewaySettings.model_validate(environment | secret | changes)


@asynccontextmanager
async def serving(settings: GatewaySettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that answers; at the end the gateway is stopped, as by a signal."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop))
    async with client_of(settings.public_base_url, timeout_s=30) as client:
        try:
            await eventually(lambda: answers(client, "/livez", 200))
            yield client
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)


async def answers(client: httpx.AsyncClient, path: str, status: int) -> bool:
    try:
        return (await client.get(path)).status_code == status
    except httpx.TransportError:
        return False


async def ready(client: httpx.AsyncClient) -> None:
    await eventually(lambda: answers(client, "/readyz", 200), timeout_s=20)
