"""A router on real services, in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from schemas.catalog import encode_entry
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from stores.postgres import PostgresJobs, migrate
from tests.integration.stores.gate import Gate
from tests.unit.router.requests import DIGITS, VECTOR, entry
from workers.router.settings import RouterSettings

ENTRIES = [entry("vector", "1", VECTOR), entry("digits", "2", DIGITS)]
# Announced, but without its lanes.
LANELESS = entry("laneless", "1", VECTOR)


@dataclass
class Site:
    """What a router needs, and whom to ask afterwards. `gate` is on its way to Postgres."""

    settings: RouterSettings
    publisher: KafkaPublisher
    jobs: PostgresJobs
    gate: Gate


@pytest.fixture
async def site(kafka_bootstrap_servers: str, fresh_postgres_dsn: str, topic_prefix: str) -> AsyncIterator[Site]:
    await migrate(fresh_postgres_dsn)
    async with Gate(fresh_postgres_dsn) as gate, PostgresJobs(fresh_postgres_dsn) as jobs:
        settings = RouterSettings(
            kafka_bootstrap_servers=kafka_bootstrap_servers,
            topic_prefix=topic_prefix,
            postgres_dsn=SecretStr(gate.url),
            router_lane_patience_s=0.5,
            health_host="127.0.0.1",
            health_port=0,
        )
        lanes = [Lane(each.model, each.version, cls) for each in ENTRIES for cls in LaneClass]
        await ensure_topics(settings, [*base_topics(settings, 3), *lane_topics(settings, lanes, 3)])
        async with KafkaPublisher(settings) as publisher:
            for each in (*ENTRIES, LANELESS):
                value = encode_entry(each)
                await publisher.publish(OutRecord(settings.topics.catalog, each.key, value, [], partition=0))
            yield Site(settings, publisher, jobs, gate)
