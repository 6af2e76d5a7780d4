"""A router on real services, in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from runtime.settings import KafkaSettings
from schemas.catalog import encode_entry
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from stores.postgres import PostgresJobs
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
async def publisher(settings: KafkaSettings) -> AsyncIterator[KafkaPublisher]:
    """For a file whose fixture `settings` says what it has of Kafka alone."""
    async with KafkaPublisher(settings) as opened:
        yield opened


@pytest.fixture
async def site(role_settings: dict[str, Any], jobs: PostgresJobs, postgres_gate: Gate) -> AsyncIterator[Site]:
    settings = RouterSettings(**role_settings, router_lane_patience_s=0.5)
    lanes = [Lane(each.model, each.version, cls) for each in ENTRIES for cls in LaneClass]
    await ensure_topics(settings, [*base_topics(settings, 3), *lane_topics(settings, lanes, 3)])
    async with KafkaPublisher(settings) as publisher:
        for each in (*ENTRIES, LANELESS):
            value = encode_entry(each)
            await publisher.publish(OutRecord(settings.topics.catalog, each.key, value, [], partition=0))
        yield Site(settings, publisher, jobs, postgres_gate)
