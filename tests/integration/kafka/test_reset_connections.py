"""Clients whose connection is reset while they write to it, on the loop of our processes, and whose broker comes back.

uvloop raises `RuntimeError` for that. aiokafka does not expect it, and would never ask for metadata again.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

from producers.kafka_client import KafkaClient, kafka_admin
from producers.kafka_publisher import KafkaPublisher
from producers.topics import TopicPlan, ensure_topics
from runtime.settings import KafkaSettings
from schemas.records import OutRecord
from tests.integration.kafka.conftest import kill_and_start, own_kafka
from tests.integration.kafka.reading import reading
from tests.waiting import eventually
from workers.consuming.kafka_consumer import KafkaConsumer

OnUvloop: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def on_uvloop() -> OnUvloop:
    uvloop = pytest.importorskip("uvloop")
    return asyncio.Runner(loop_factory=uvloop.new_event_loop).run


@contextmanager
def connections_reset(client: Any) -> Iterator[None]:
    """Whatever connection is taken to write to is reset right before it is."""
    assert isinstance(client, KafkaClient)
    taken = client._get_conn

    async def reset(*args: Any, **options: Any) -> Any:
        connection = await taken(*args, **options)
        if connection is not None:
            connection._writer.transport.abort()
            await connection._closed_fut
        return connection

    client._get_conn = reset  # type: ignore[method-assign]
    yield
    client._get_conn = taken  # type: ignore[method-assign]


async def metadata_is_renewed(client: KafkaClient) -> bool:
    """Never returns once the task that renews it has ended."""
    async with asyncio.timeout(20):
        return await client.force_metadata_update()  # type: ignore[no-any-return]


def test_a_member_of_a_group_reads_on(topic_prefix: str, on_uvloop: OnUvloop) -> None:
    async def reads_on() -> None:
        async with own_kafka() as stack:
            settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=topic_prefix)
            topic = f"{topic_prefix}.things.v1"
            await ensure_topics(settings, [TopicPlan(topic, 1, {})])
            member = KafkaConsumer(settings, f"{topic_prefix}.readers", [topic])
            async with reading(member) as reader, KafkaPublisher(settings) as publisher:
                await publisher.publish(OutRecord(topic, None, b"before", []))
                await eventually(lambda: reader.values == [b"before"], timeout_s=20)
                assert member._client is not None
                client = member._client._client
                with connections_reset(client):
                    assert not await metadata_is_renewed(client)
                await kill_and_start(stack.kafka)
                await eventually(lambda: metadata_is_renewed(client), timeout_s=40)

                async def published() -> bool:
                    return await publisher.publish_all([OutRecord(topic, None, b"after", [])]) == [None]

                await eventually(published, timeout_s=40)
                await eventually(lambda: b"after" in reader.values, timeout_s=40)

    on_uvloop(reads_on())


def test_an_admin_client_asks_on(on_uvloop: OnUvloop) -> None:
    async def asks_on() -> None:
        async with own_kafka() as stack:
            admin = kafka_admin(KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers))
            await admin.start()
            with connections_reset(admin._client):
                assert not await metadata_is_renewed(admin._client)
            await kill_and_start(stack.kafka)
            await eventually(lambda: metadata_is_renewed(admin._client), timeout_s=40)
            assert await admin.list_topics() is not None
            await admin.close()

    on_uvloop(asks_on())
