"""The fixtures that the other tests stand on."""

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis


async def test_kafka_takes_a_record(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}.requests.v1"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers, acks="all") as producer:
        written = await producer.send_and_wait(topic, b"{}")
    assert (written.topic, written.offset) == (topic, 0)


async def test_each_test_has_a_database_of_its_own(postgres_dsn: str, fresh_postgres_dsn: str) -> None:
    connection = await asyncpg.connect(fresh_postgres_dsn)
    try:
        tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    assert tables == 0
    assert fresh_postgres_dsn != postgres_dsn


async def test_redis_keeps_a_value(redis_url: str, topic_prefix: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.set(topic_prefix, "kept", ex=60)
        assert await redis.get(topic_prefix) == b"kept"
