import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.embedded.elsewhere import Service
from penstock.embedded.stack import EmbeddedStack
from penstock.errors import StackError
from penstock.part import Part
from producers.kafka_publisher import KafkaPublisher
from producers.topics import TopicPlan, ensure_topics
from runtime.settings import KafkaSettings
from tests.services import unavailable

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


@pytest.fixture(autouse=True)
def _quiet_client(caplog: pytest.LogCaptureFixture) -> None:
    """Every attempt to reconnect is an error to aiokafka."""
    caplog.set_level(logging.CRITICAL, "aiokafka")


@asynccontextmanager
async def own_kafka() -> AsyncIterator[EmbeddedStack]:
    """A Kafka of the test's own, to be killed."""
    opened = EmbeddedStack(None, services=frozenset([Service.KAFKA]))
    try:
        await opened.__aenter__()
    except StackError as error:
        unavailable(str(error))
    try:
        yield opened
    finally:
        await opened.__aexit__(None, None, None)


@pytest.fixture
async def stack() -> AsyncIterator[EmbeddedStack]:
    async with own_kafka() as opened:
        yield opened


async def kill_and_start(broker: Part) -> None:
    broker.kill()
    await broker.wait()
    await broker.start()
