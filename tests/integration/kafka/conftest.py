from collections.abc import AsyncIterator

import pytest

from producers.kafka_publisher import KafkaPublisher
from producers.topics import TopicPlan, ensure_topics
from runtime.settings import KafkaSettings

PARTITIONS = 6


@pytest.fixture
def kafka_settings(kafka_bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap_servers, topic_prefix=topic_prefix)


@pytest.fixture
async def publisher(kafka_settings: KafkaSettings) -> AsyncIterator[KafkaPublisher]:
    async with KafkaPublisher(kafka_settings) as opened:
        yield opened


@pytest.fixture
async def topic(kafka_settings: KafkaSettings) -> str:
    name = f"{kafka_settings.topic_prefix}.things.v1"
    await ensure_topics(kafka_settings, [TopicPlan(name, PARTITIONS, {})])
    return name


@pytest.fixture
def group(topic_prefix: str) -> str:
    return f"{topic_prefix}.readers"
