"""A sink on real services, in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics
from stores.postgres import PostgresAdmissions, PostgresJobs
from stores.redis import RedisNews, RedisSignals
from tests.integration.stores.gate import Gate
from workers.sink.settings import SinkSettings


@dataclass
class Site:
    """What a sink needs, and whom to ask afterwards. The gates are on its way to Postgres and Redis."""

    settings: SinkSettings
    publisher: KafkaPublisher
    admissions: PostgresAdmissions
    jobs: PostgresJobs
    news: RedisNews
    signals: RedisSignals
    postgres_gate: Gate
    redis_gate: Gate


@pytest.fixture
async def site(
    role_settings: dict[str, Any],
    jobs: PostgresJobs,
    postgres_gate: Gate,
    migrated_postgres_dsn: str,
    redis_url: str,
    topic_prefix: str,
) -> AsyncIterator[Site]:
    async with (
        Gate(redis_url) as redis_gate,
        PostgresAdmissions(migrated_postgres_dsn) as admissions,
        RedisNews(redis_url, prefix=topic_prefix) as news,
        RedisSignals(redis_url, prefix=topic_prefix) as signals,
    ):
        settings = SinkSettings(
            **role_settings,
            redis_url=SecretStr(redis_gate.url),
            sink_expiry_interval_s=0.2,
            sink_expiry_grace_s=0.5,
        )
        await ensure_topics(settings, base_topics(settings, 3))
        async with KafkaPublisher(settings) as publisher:
            yield Site(settings, publisher, admissions, jobs, news, signals, postgres_gate, redis_gate)
