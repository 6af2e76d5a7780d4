"""A gateway to measure: services, tables, topics, a catalog, and the process itself."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from benchmarks.models import Models
from benchmarks.processes import Program, program, until_ready
from benchmarks.worker_runs import PARTITIONS
from penstock.embedded.stack import EmbeddedStack
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics
from runtime.clock import now_utc
from runtime.settings import KafkaSettings
from stores.postgres.migrations import migrate
from workers.inference.lifecycle.announce import announce
from workers.inference.models.repository import ModelRepository


async def prepare(stack: EmbeddedStack, models: Models, prefix: str) -> KafkaSettings:
    """Tables, topics, and the digits in the catalog, so that jobs are accepted even with no worker there."""
    await migrate(stack.postgres_dsn)
    settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=prefix)
    await ensure_topics(settings, base_topics(settings, PARTITIONS))
    versions = ModelRepository(models.repository_of("digits")).scan(["digits"])
    async with KafkaPublisher(settings) as publisher:
        await announce(settings, publisher, versions, PARTITIONS, now_utc)
    return settings


def environment(stack: EmbeddedStack, prefix: str, models: Models) -> dict[str, str]:
    """What every role of this installation is told."""
    return {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "PENSTOCK_POSTGRES_DSN": stack.postgres_dsn,
        "PENSTOCK_REDIS_URL": stack.redis_url,
        "PENSTOCK_TOPIC_PREFIX": prefix,
        "PENSTOCK_MODEL_REPOSITORY": str(models.repository_of("digits")),
        "PENSTOCK_WORKER_MODELS": "digits/1",
        "PENSTOCK_LANE_PARTITIONS": str(PARTITIONS),
        "PENSTOCK_HEALTH_HOST": "127.0.0.1",
        "PENSTOCK_LOG_LEVEL": "warning",
    }


@asynccontextmanager
async def gateways(
    stack: EmbeddedStack, models: Models, prefix: str, count: int = 1
) -> AsyncIterator[tuple[list[Program], int]]:
    """So many gateways that answer, and the port that they have, or share."""
    shared = models.free_port()
    ports = [shared] if count == 1 else [models.free_port() for _ in range(count)]
    async with AsyncExitStack() as open_:
        running = [
            await open_.enter_async_context(_gateway(environment(stack, prefix, models), port, shared))
            for port in ports
        ]
        for each, port in zip(running, ports, strict=True):
            await until_ready(f"http://127.0.0.1:{port}/readyz", each)
        yield running, shared


def _gateway(told: dict[str, str], port: int, shared: int) -> AbstractAsyncContextManager[Program]:
    own = {
        "PENSTOCK_GATEWAY_HOST": "127.0.0.1",
        "PENSTOCK_GATEWAY_PORT": str(port),
        "PENSTOCK_PUBLIC_BASE_URL": f"http://127.0.0.1:{shared}",
        "PENSTOCK_GATEWAY_MAX_LANE_DEPTH": "100000000",
    }
    if port != shared:
        own["PENSTOCK_GATEWAY_SHARED_PORT"] = str(shared)
    return program(["-m", "penstock", "gateway"], told | own)
