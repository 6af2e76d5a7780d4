from collections.abc import AsyncIterator

import pytest

from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from runtime.settings import KafkaSettings
from tests.unit.dlq.letters import JOB


@pytest.fixture
async def settings(kafka_bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap_servers, topic_prefix=topic_prefix)
    await ensure_topics(settings, [*base_topics(settings, 2), *lane_topics(settings, [JOB.lane_of], 2)])
    return settings


@pytest.fixture
async def publisher(settings: KafkaSettings) -> AsyncIterator[KafkaPublisher]:
    async with KafkaPublisher(settings) as opened:
        yield opened
