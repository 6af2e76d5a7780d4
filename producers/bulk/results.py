"""Reading the results topic as it grows, without a group: every reader sees every result."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from producers.kafka_client import kafka_admin, kafka_consumer
from producers.stopping import stop_consumer
from runtime.backoff import delays_s
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable, Undecodable
from schemas.jobs import Terminal
from schemas.records import read_terminal_record

log = get_logger(__name__)

FETCH_TIMEOUT_MS: Final = 500


class ResultsReader:
    """Terminal records written after the block was entered, of all jobs; a job's first one is the one that counts."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: Any = None  # aiokafka ships no types

    async def __aenter__(self) -> "ResultsReader":
        topic = self._settings.topics.results
        client = kafka_consumer(self._settings)
        try:
            await client.start()
            partitions = await _partitions_of(self._settings, topic)
            client.assign(partitions)
            for partition, end in (await client.end_offsets(partitions)).items():
                client.seek(partition, end)
        except (KafkaError, OSError) as error:
            await stop_consumer(client)
            raise QueueUnavailable(f"Kafka cannot be reached at {self._settings.kafka_bootstrap_servers}") from error
        except BaseException:
            await stop_consumer(client)
            raise
        self._client = client
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await stop_consumer(self._client)

    async def terminals(self) -> AsyncIterator[Terminal]:
        """Every terminal record as it comes, for ever; what is none is passed over. Rides out a lost broker."""
        delays = delays_s()
        while True:
            try:
                fetched = await self._client.getmany(timeout_ms=FETCH_TIMEOUT_MS)
            except KafkaError as error:
                log.warning("results cannot be read", error=repr(error))
                await asyncio.sleep(next(delays))
                continue
            for records in fetched.values():
                for record in records:
                    try:
                        yield read_terminal_record(record.headers, record.value)
                    except Undecodable as error:
                        log.debug("not a result", offset=record.offset, error=error.message)


async def _partitions_of(settings: KafkaSettings, topic: str) -> list[TopicPartition]:
    """A consumer without a subscription is told nothing about topics; the admin client asks."""
    admin = kafka_admin(settings)
    try:
        await admin.start()
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    if not described["partitions"]:
        raise QueueUnavailable(f"topic {topic} does not exist: has this cluster a Penstock of this prefix?")
    return [TopicPartition(topic, partition["partition"]) for partition in described["partitions"]]
