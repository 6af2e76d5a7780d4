from collections.abc import AsyncIterator

import pytest

from tests.contracts.queue.queues import MemoryQueue, Queue, kafka_queue


@pytest.fixture(params=["memory", "kafka"])
async def queue(request: pytest.FixtureRequest, topic_prefix: str) -> AsyncIterator[Queue]:
    if request.param == "memory":
        yield MemoryQueue()
        return
    async with kafka_queue(request.getfixturevalue("kafka_bootstrap_servers"), topic_prefix) as opened:
        yield opened


@pytest.fixture
async def topic(queue: Queue, topic_prefix: str) -> str:
    name = f"{topic_prefix}.things.v1"
    await queue.create(name)
    return name


@pytest.fixture
def group(topic_prefix: str) -> str:
    return f"{topic_prefix}.readers"
