"""Following a compacted one-partition control topic: read whole first, then record by record, for ever."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

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
# Called in its stead with key and headers of what takes a key back, by who asks for that. Must not raise.
TakeBack = Callable[[bytes, Sequence[tuple[str, bytes]]], None]

FETCH_TIMEOUT_MS: Final = 500
LOOK_EVERY_S: Final = 5.0


class Reading(Protocol):
    """Told when the topic is read from its beginning, for the first time or again. Must not raise."""

    def begun(self) -> None: ...

    def ended(self) -> None:
        """All that the topic held at the beginning has been applied."""


class _MadeAnew(Exception):
    """The topic is not the one that was read so far."""


class ControlTopic:
    """One reader of a control topic, without a group: every process reads all of it.

    `caught_up` is set once everything that was written before the start has been applied.
    After a lost connection it reads from the beginning again, which a compacted topic allows at any time. So it does
    where the topic was deleted and made again: what has been applied stays, until its keys are told anew.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        apply: Apply,
        *,
        take_back: TakeBack | None = None,
        reading: Reading | None = None,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._apply = apply
        self._take_back = take_back
        self._reading = reading
        self._connected = False
        self.caught_up = asyncio.Event()

    async def follow(self) -> None:
        """Run until canceled; reconnects with back-off."""
        delays = delays_s()
        while True:
            try:
                await self._read()
            except _MadeAnew:
                log.warning("the control topic is gone, or made anew: it is read from its beginning", topic=self._topic)
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
            await self._apply_all(consumer, partition, end)
        finally:
            await stop_consumer(consumer, topic=self._topic)

    async def _apply_all(self, consumer: Any, partition: TopicPartition, end: int) -> None:
        """Raises `_MadeAnew`. A consumer that finds another topic under the name goes on in it, or waits for its end to
        come by."""
        if self._reading is not None:
            self._reading.begun()
        read_whole, position, looked_s = False, 0, time.monotonic()
        while True:
            before, position = position, await consumer.position(partition)
            if position < before or not consumer.partitions_for_topic(self._topic):
                raise _MadeAnew
            if not read_whole and position >= end:
                read_whole = True
                if self._reading is not None:
                    self._reading.ended()
                self.caught_up.set()
            fetched = await consumer.getmany(partition, timeout_ms=FETCH_TIMEOUT_MS)
            for record in fetched.get(partition, ()):
                if record.key is not None:
                    self._take_in(record.key, record.value, record.headers)
            if time.monotonic() >= looked_s + LOOK_EVERY_S:
                looked_s = time.monotonic()
                if (await consumer.end_offsets([partition]))[partition] < position:
                    raise _MadeAnew

    def _take_in(self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> None:
        if value is None and self._take_back is not None:
            self._take_back(key, headers)
        else:
            self._apply(key, value)
