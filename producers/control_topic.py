"""Following a compacted one-partition control topic: read whole first, then record by record, for ever."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from producers.kafka_client import kafka_consumer
from producers.stopping import stop_consumer
from runtime.backoff import delays_s
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import ConfigurationError

log = get_logger(__name__)

# Called with each record's key and value; None for a value takes the key back. Must not raise.
Apply = Callable[[bytes, bytes | None], None]

FETCH_TIMEOUT_MS: Final = 500


class ControlTopic:
    """One reader of a control topic, without a group: every process reads all of it.

    `caught_up` is set once everything that was written before the start has been applied.
    After a lost connection it reads from the beginning again, which a compacted topic allows at any time.
    """

    def __init__(self, settings: KafkaSettings, topic: str, apply: Apply) -> None:
        self._settings = settings
        self._topic = topic
        self._apply = apply
        self._connected = False
        self.caught_up = asyncio.Event()

    async def follow(self) -> None:
        """Run until canceled; reconnects with back-off."""
        delays = delays_s()
        while True:
            try:
                await self._read()
            except (KafkaError, OSError, ConfigurationError) as error:  # the last where a broker refuses us
                log.warning("control topic cannot be read", topic=self._topic, error=repr(error))
            if self._connected:
                delays = delays_s()
            await asyncio.sleep(next(delays))

    async def _read(self) -> None:
        self._connected = False
        consumer = kafka_consumer(self._settings)
        try:
            await consumer.start()
            partition = TopicPartition(self._topic, 0)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            await consumer.seek_to_beginning(partition)
            self._connected = True
            while True:
                if await consumer.position(partition) >= end:
                    self.caught_up.set()
                fetched = await consumer.getmany(partition, timeout_ms=FETCH_TIMEOUT_MS)
                for record in fetched.get(partition, ()):
                    if record.key is not None:
                        self._apply(record.key, record.value)
        finally:
            await stop_consumer(consumer, topic=self._topic)
